// Ask pmcredd for ProcessMaker access tokens. Node.js 18 or newer, on Linux; no dependencies.
// SPDX-License-Identifier: MIT - copy this file freely.
//
//     import { callApi, getToken, reject } from "./pmcred.mjs";
//     const token = await getToken("prod", { lasting: "30m" });
//
// Written from docs/protocol.md: a request is one line over a Unix socket, an answer is a few.

import { createHash } from "node:crypto";
import { lstatSync } from "node:fs";
import { createConnection } from "node:net";
import { homedir } from "node:os";
import { dirname } from "node:path";

/** What went wrong: `code` is one of the protocol's, or "no-daemon"; `hint` says what mends it, or is "". */
export class PmcredError extends Error {
  constructor(code, message, hint = "") {
    super(message);
    this.name = "PmcredError";
    this.code = code;
    this.hint = hint;
  }
}

/**
 * Get an access token that works now: { accessToken, tokenType, profile, url, expiresAt, goodUntil }.
 *
 * The times are in unix seconds, or undefined. `lasting` is how long from now the token must stay good, in seconds or
 * as in "30m"; `timeout` is how many seconds to wait, should the daemon have to get a new one first.
 */
export async function getToken(profile = process.env.PMCRED_PROFILE, { lasting, timeout = 60 } = {}) {
  return toToken(await ask("get", profile, { for: lasting, timeout }));
}

/** Tell that a server refused this access token with a 401. Gives the token to use instead. */
export async function reject(profile, accessToken, { timeout = 60 } = {}) {
  const fingerprint = createHash("sha256").update(accessToken).digest("hex").slice(0, 16);
  return toToken(await ask("reject", profile, { fingerprint, timeout }));
}

/**
 * fetch() a path of a profile's ProcessMaker ("/api/1.0/users") with its token. A token that is refused with a 401 is
 * reported, and the request is sent once more with the next one, unless its body can be read only once, as a stream.
 */
export async function callApi(profile, path, options = {}) {
  const send = (token) => {
    const headers = new Headers(options.headers);
    headers.set("Authorization", `Bearer ${token.accessToken}`);
    // Where JSON is not what is asked for first, a refused token is answered with the login page and not with a 401.
    if (!headers.has("Accept")) headers.set("Accept", "application/json");
    return fetch(below(token.url, path), { ...options, headers, redirect: "manual" });
  };
  const token = await getToken(profile);
  const answer = await send(token);
  if (answer.status !== 401) return answer;
  const next = await reject(token.profile, token.accessToken);
  if (!isReplayable(options.body)) return answer;
  await answer.body?.cancel();
  return send(next);
}

/** The token is for what is below the profile's url: "@elsewhere/" would be another host, and "/../" another place. */
function below(base, path) {
  // Many a server takes %2f and %5c for a slash before it looks for dots, and drops what follows a semicolon.
  const dots = /(?:\/|%2f|%5c)(?:\.|%2e){1,2}(?=[/;]|%2f|%5c|$)/i;
  const [way] = path.split(/[?#]/);
  const plain = way.startsWith("/") && !/[\\\x00-\x1f]/.test(way) && !dots.test(way);
  if (plain && new URL(base + path).href.startsWith(new URL(`${base}/`).href)) return base + path;
  throw new PmcredError("bad-request", `the path ${path} must begin with a slash and have no ., .. or backslash in it`);
}

/** Whether fetch() can send this body again; of all that is not known here it cannot be said. */
function isReplayable(body) {
  if (body === undefined || body === null || typeof body === "string" || ArrayBuffer.isView(body)) return true;
  return [ArrayBuffer, Blob, FormData, URLSearchParams].some((kind) => body instanceof kind);
}

/** Send a request of the protocol and give the blocks of its answer: await ask("status", "prod"). No streams. */
export async function ask(verb, target = "", keys = {}) {
  const given = Object.entries(keys).filter(([, value]) => value !== undefined);
  const words = [verb, encode(target), ...given.map(([key, value]) => `${key}=${encode(value)}`)];
  const connection = await connect();
  try {
    return await exchange(connection, words.join(" ") + "\n", (keys.timeout ?? 60) + 10);
  } finally {
    connection.destroy();
  }
}

function toToken([block]) {
  if (!block?.access_token) throw nonsense();
  const time = (key) => (block[key] === undefined ? undefined : Number(block[key]));
  const [expiresAt, goodUntil] = [time("expires_at"), time("good_until")];
  const token = { tokenType: block.token_type, profile: block.profile, url: block.url, expiresAt, goodUntil };
  // Not enumerable: console.log(token) and JSON.stringify(token) do not show it.
  return Object.defineProperty(token, "accessToken", { value: block.access_token });
}

function encode(value) {
  try {
    return encodeURIComponent(value);
  } catch {
    throw new PmcredError("bad-request", "half a character (a lone surrogate) cannot be sent");
  }
}

function socketPaths() {
  const env = process.env;
  if (env.PMCRED_SOCKET) return [env.PMCRED_SOCKET];
  const absolute = (path) => (path?.startsWith("/") ? path : undefined);
  const runtime = absolute(env.XDG_RUNTIME_DIR);
  const state = env.PMCRED_STATE_DIR || `${absolute(env.XDG_STATE_HOME) ?? `${homedir()}/.local/state`}/pmcred`;
  const found = [`/run/user/${process.geteuid()}/pmcred/socket`, `${state}/run/socket`];
  return runtime ? [`${runtime}/pmcred/socket`, ...found] : found;
}

/** Connect to the first socket that answers; what was wrong with the others is told if none does. */
async function connect() {
  const tried = [];
  for (const path of socketPaths()) {
    try {
      checkDirectory(dirname(path));
      if (Buffer.byteLength(path) > 107) throw new Error("a path so long cannot be a socket's");
      return await new Promise((resolve, fail) => {
        const connection = createConnection({ path }, () => resolve(connection.off("error", fail)));
        connection.on("error", fail);
      });
    } catch (error) {
      tried.push(`\n  ${path}: ${error.message}`);
    }
  }
  throw new PmcredError("no-daemon", `no daemon answers${tried.join("")}`, "pmcred service install");
}

/**
 * Node.js has no SO_PEERCRED: which user listens, as the protocol wants it checked, cannot be asked here. So the
 * directory has to vouch for its socket: it is ours and nobody else can enter it, so nobody else has put it there.
 */
function checkDirectory(directory) {
  const uid = process.geteuid();
  const found = lstatSync(directory);
  if (uid === 65534) throw new Error("you are nobody (uid 65534), as others are");
  if (!found.isDirectory()) throw new Error("its directory is not a directory (symbolic links are not followed)");
  if (found.uid !== uid) throw new Error(`its directory belongs to uid ${found.uid}, not to you (uid ${uid})`);
  if (found.mode & 0o077) throw new Error("others can enter its directory: it must have mode 0700");
}

/** Write a line and wait, for so many seconds, until its answer is whole. */
function exchange(connection, line, seconds) {
  return new Promise((resolve, fail) => {
    const late = new PmcredError("waiting", `the daemon has not answered within ${seconds} s`);
    const timer = setTimeout(() => connection.destroy(late), Math.min(seconds * 1000, 2 ** 31 - 1));
    const parse = answerParser();
    connection.setEncoding("latin1").on("data", (piece) => {
      try {
        const blocks = parse(piece);
        if (blocks) resolve(blocks);
      } catch (error) {
        fail(error instanceof PmcredError ? error : nonsense());
      }
    });
    connection.on("error", (error) => fail(error instanceof PmcredError ? error : broken(error.message)));
    connection.on("close", () => {
      clearTimeout(timer);
      fail(broken("it was closed before the answer was whole"));
    });
    connection.write(line);
  });
}

const nonsense = () => new PmcredError("internal", "the daemon's answer makes no sense");
const broken = (why) => new PmcredError("stopping", `the connection to the daemon broke: ${why}`, "pmcred status");

/** Make a function that takes an answer piece by piece: it gives the blocks once all have come, and nothing before. */
function answerParser() {
  const blocks = [];
  let [head, block, rest] = [undefined, Object.create(null), ""];
  return (piece) => {
    const lines = (rest + piece).split("\n");
    rest = lines.pop(); // what has no newline yet
    if (lines.length > 0) head ??= parseHead(lines.shift());
    for (const line of lines) {
      const [, key, value] = /^([^=]+)=(.*)$/s.exec(line) ?? [];
      if (line === "") {
        blocks.push(block);
        block = Object.create(null);
      } else if (key === undefined) {
        throw nonsense();
      } else {
        block[key] ??= decodeURIComponent(value); // of two the first counts
      }
    }
    if (head === undefined || blocks.length < Number(head.count ?? 1)) return undefined;
    if (head.code) throw new PmcredError(head.code, blocks[0].message, blocks[0].hint);
    return blocks;
  };
}

function parseHead(line) {
  const found = /^(?:ok(?: (?<count>\d+))?|error (?<code>\S+))$/.exec(line);
  if (!found) throw nonsense();
  return found.groups;
}
