// The same for a script that has to last: a token that the server refuses is replaced, and errors are told in words.
import { callApi, PmcredError } from "./pmcred.mjs";

try {
  const answer = await callApi("prod", "/api/1.0/users?per_page=100");
  if (!answer.ok) throw new Error(`ProcessMaker answered ${answer.status}`);
  for (const user of (await answer.json()).data) console.log(user.id, user.username);
} catch (error) {
  console.error(error.message);
  if (error instanceof PmcredError && error.hint) console.error(`  try: ${error.hint}`);
  process.exitCode = 1;
}
