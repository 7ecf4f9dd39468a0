// Commands as frames (proto/README.md, section 8), without the routing id.
import { decode, encode, utf8 } from "./msgpack.js";

const NOTHING = Buffer.alloc(0);
const TO_BRIDGE = new Set(["SEND", "CLOSE", "KICK", "EVENT", "LOST"]);
const CLOSE_CODES = [[1000, 1003], [1007, 1014], [3000, 4999]];

/** A command that is not as the wire wants it. */
export class Malformed extends Error {}

function demand(condition, why) {
  if (!condition) throw new Malformed(why);
}

/** What a runtime takes: for each command whom it concerns, and what its headers must be. */
const TO_RUNTIME = {
  HELLO: {},
  PING: {},
  PONG: {},
  CONNECT: { connection: true, user: true, check: checkConnect },
  MESSAGE: { connection: true, user: true, check: checkMessage },
  DISCONNECT: { connection: true, user: true },
  ABANDONED: { user: true, check: checkAbandoned },
  REPLAY: { check: checkReplay },
};

function checkConnect({ claims }) {
  demand(claims === undefined || isMap(claims), "claims are no map");
}

function checkMessage({ opcode }) {
  demand(opcode === undefined || opcode === "text" || opcode === "binary", "opcode is neither text nor binary");
}

function checkAbandoned({ runs }) {
  demand(Array.isArray(runs) && runs.every((run) => typeof run === "string"), "runs are no list of strings");
}

function checkReplay({ publisher, from, to }) {
  demand(typeof publisher === "string", "publisher is missing");
  demand(isNumber(from) && isNumber(to), "from and to are missing");
  demand(from <= to, "from is above to");
}

function isMap(value) {
  return typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}

function isNumber(value) {
  return typeof value === "bigint" ? value >= 0n : Number.isInteger(value) && value >= 0;
}

/** @returns {{command, connection, user, headers, body}}; throws Malformed. */
export function parseCommand(frames) {
  demand(frames.length === 5, `five frames, not ${frames.length}`);
  const [name, connection, user, headers, body] = frames;
  const command = name.toString("latin1");
  demand(!TO_BRIDGE.has(command), `${command} is not for a runtime`);
  demand(Object.hasOwn(TO_RUNTIME, command), "no such command");
  const wants = TO_RUNTIME[command];
  const parsed = { command, connection: text(connection, "connection"), user: text(user, "user"),
                   headers: parseHeaders(headers), body };
  demand(!wants.connection || parsed.connection !== "", "connection is missing");
  demand(!wants.user || parsed.user !== "", "user is missing");
  wants.check?.(parsed.headers);
  return parsed;
}

function text(frame, what) {
  const string = utf8(frame);
  demand(string !== null, `${what} is not UTF-8`);
  return string;
}

function parseHeaders(frame) {
  if (frame.length === 0) return {};
  let headers;
  try {
    headers = decode(frame);
  } catch (error) {
    throw new Malformed(`headers: ${error.message}`);
  }
  demand(isMap(headers), "headers are no map");
  return headers;
}

/** Five frames. `headers` null or without a defined value: an empty frame. */
export function makeCommand(command, { connection = "", user = "", headers = null, body = NOTHING } = {}) {
  const given = headers && Object.values(headers).some((value) => value !== undefined);
  return [command, connection, user].map((word) => Buffer.from(word)).concat([given ? encode(headers) : NOTHING, body]);
}

/** Why an endpoint may not close with this, or null. */
export function closeFault(code, reason) {
  if (!CLOSE_CODES.some(([low, high]) => Number.isInteger(code) && code >= low && code <= high))
    return `close code ${code}: it is one of 1000 to 1003, 1007 to 1014, 3000 to 4999`;
  if (typeof reason !== "string" || Buffer.byteLength(reason) > 123) return "the reason is a string of at most 123 bytes";
  return null;
}

