// Get an access token and print it, then call the API: what ProcessMaker's guide does with a client's id and secret.
import { getToken } from "./pmcred.mjs";

const token = await getToken("prod");
console.log("Access token:", token.accessToken);

const headers = { Accept: "application/json", Authorization: `Bearer ${token.accessToken}` };
const answer = await fetch(`${token.url}/api/1.0/users`, { headers });
for (const user of (await answer.json()).data) console.log(user.id, user.username);
