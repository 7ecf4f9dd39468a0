// What callers may name: users, event types, extra fields.
import { randomUUID } from "node:crypto";
import { fault } from "./errors.js";

const OURS = ["type", "user_id", "event_id", "timestamp"];
const OF_A_RUN = [...OURS, "run_id", "thread_id", "agent_name"];

export function newId(prefix) {
  return `${prefix}_${randomUUID().replaceAll("-", "").slice(0, 16)}`;
}

export function checkUser(user) {
  const good = typeof user === "string" && user.isWellFormed() && !/\p{Cc}/u.test(user)
    && Buffer.byteLength(user) >= 1 && Buffer.byteLength(user) <= 128;
  if (!good) throw fault("BAD_ARGUMENT", `user: a string of 1 to 128 bytes without control characters, not ${JSON.stringify(user)}`);
}

export function checkText(what, text, bytes = Infinity) {
  if (typeof text !== "string" || text === "" || Buffer.byteLength(text) > bytes)
    throw fault("BAD_ARGUMENT", `${what}: a string that is not empty${bytes < Infinity ? `, at most ${bytes} bytes` : ""}`);
}

export function checkString(what, text) {
  if (typeof text !== "string") throw fault("BAD_ARGUMENT", `${what}: a string, not ${text === null ? "null" : typeof text}`);
}

/** Extra fields of an event; `taken` are names that it has already. */
export function checkFields(fields = {}, taken = [], ofRun = false) {
  if (typeof fields !== "object" || fields === null || Array.isArray(fields))
    throw fault("BAD_ARGUMENT", "fields: an object with the event's fields");
  const reserved = ofRun ? OF_A_RUN : OURS;
  for (const name of Object.keys(fields)) {
    if (reserved.includes(name) || taken.includes(name) || name.startsWith("_"))
      throw fault("RESERVED_FIELD", `"${name}" is set by ${name.startsWith("_") ? "the bridge" : "this package"}; give the field another name`);
  }
  return fields;
}

/** What every event begins with. */
export function stamp(type, user) {
  return { type, event_id: randomUUID().replaceAll("-", ""), timestamp: Date.now() / 1000, user_id: user };
}
