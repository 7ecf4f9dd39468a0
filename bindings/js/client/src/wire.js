/* What proto/README.md says about URLs, subprotocols and close codes, as functions without state. */
import { AgentSocketError } from "./errors.js";

const TOKEN_CHARACTERS = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/; // RFC 9110, of which a subprotocol consists
const SPOKEN = ["agent_chat", "jwt-auth", "jwt", "bearer", "e2e-testing"];

/** ws://… as it is; http://… and, in a page, a path become the WebSocket URL that they mean. */
export function absoluteUrl(url, base = globalThis.location?.href) {
  const text = String(url).split("#")[0];
  if (/^wss?:\/\//i.test(text)) return checkedUrl(text) && text;
  if (!/^https?:\/\//i.test(text) && !base)
    throw new AgentSocketError("BAD_OPTION", `url "${text}": begin it with ws:// or wss://`);
  const found = checkedUrl(text, base);
  found.protocol = found.protocol === "https:" ? "wss:" : "ws:";
  return found.href;
}

function checkedUrl(text, base) {
  try {
    return new URL(text, base);
  } catch {
    throw new AgentSocketError("BAD_OPTION", `url "${text}" cannot be read`);
  }
}

/** The URL with the cursor of a client that comes back. */
export function urlWithCursor(url, cursor) {
  if (!cursor) return url;
  const query = `epoch=${encodeURIComponent(cursor.epoch)}&offset=${cursor.offset}`;
  return `${url}${url.includes("?") ? "&" : "?"}${query}`;
}

/** The entries of Sec-WebSocket-Protocol. The fault never shows the token. */
export function offered(token, subprotocol) {
  if (token === null || token === undefined || token === "") return [subprotocol];
  if (!TOKEN_CHARACTERS.test(token))
    throw new AgentSocketError("BAD_TOKEN", "the token holds characters that no JWT has: give it as the compact JWT, " +
      "without blanks, quotes or \"Bearer \"");
  return [`jwt.${token}`, subprotocol];
}

/** Refuses what this client cannot read. */
export function checkSubprotocol(name) {
  if (SPOKEN.includes(name)) return name;
  throw new AgentSocketError("BAD_OPTION", `subprotocol "${name}": this client reads JSON; use "agent_chat"` +
    (name === "agent_chat.msgpack" ? " (MessagePack would need a dependency)" : ""));
}

/** A fresh cursor object, or a fault that names what is wrong with it. */
export function checkCursor(cursor) {
  if (cursor === null || cursor === undefined) return null;
  if (typeof cursor.epoch === "string" && Number.isSafeInteger(cursor.offset) && cursor.offset >= 0)
    return { epoch: cursor.epoch, offset: cursor.offset };
  throw new AgentSocketError("BAD_OPTION", "cursor: give what `socket.cursor` was, {epoch: string, offset: number}, or null");
}

const FOR_GOOD = new Map([[1000, "closed by the runtime"], [1002, "the bridge found a fault in this client's frames"],
  [4009, "kicked by the runtime"]]);
const AT_ONCE = new Set([1001, 1006, 1007, 1009, 4008]); // 1006: no close frame, the network

/**
 * What to do after a close: `again` false (for good), "now" (no pause before the first try) or "pause".
 * `said` is what the frames before the close said: {retryAllowed, tokenExpired, errorCode, errorMessage}.
 */
export function afterClose(code, reason, said = {}) {
  if (code === 1008) return afterRefusal(reason, said);
  if (FOR_GOOD.has(code)) return { again: false, why: reason || FOR_GOOD.get(code) };
  return { again: AT_ONCE.has(code) ? "now" : "pause", why: said.errorCode ?? (reason || `close code ${code}`) };
}

function afterRefusal(reason, said) {
  const why = said.errorCode ?? (said.tokenExpired ? "TOKEN_EXPIRED" : reason || "refused");
  if (said.tokenExpired || said.errorCode === "TOKEN_EXPIRED") return { again: "now", why, newToken: true };
  return { again: said.retryAllowed ? "pause" : false, why };
}

/** The object in a text frame, or null when it is no event. */
export function readFrame(text, parse) {
  try {
    const value = parse(text);
    return value !== null && typeof value === "object" && typeof value.type === "string" ? value : null;
  } catch {
    return null;
  }
}

const MAX_DEPTH = 64; // of what the bridge reads
const BRIDGES_OWN = ["ping", "heartbeat", "heartbeat_ack", "refresh_token"];

/** What is wrong with a message that the application wants to send, or null. */
export function messageFault(message) {
  if (message === null || typeof message !== "object" || typeof message.type !== "string")
    return "send() takes an object with a string `type`";
  if (BRIDGES_OWN.includes(message.type)) return `the client sends "${message.type}" itself; it does not reach the runtime`;
  if (message.message_id !== undefined && typeof message.message_id !== "string") return "message_id must be a string";
  return tooDeep(message, MAX_DEPTH) ? `the message is nested deeper than ${MAX_DEPTH}` : null;
}

function tooDeep(value, left) {
  if (value === null || typeof value !== "object") return false;
  return left === 0 || Object.values(value).some((inner) => tooDeep(inner, left - 1));
}

/** A copy of binary data, since the caller may go on with his; null when it is none. */
export function bytesOf(data) {
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice();
  return data instanceof ArrayBuffer ? new Uint8Array(data).slice() : null;
}

/** Length in UTF-8. */
export function byteLength(text) {
  return new TextEncoder().encode(text).length;
}
