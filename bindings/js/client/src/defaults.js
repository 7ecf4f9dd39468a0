/* Options, their defaults and their limits: one row each. */
import { AgentSocketError } from "./errors.js";

const COUNT = [1, 1_000_000];
const MS = [1, 86_400_000];
const BYTES = [1, 1 << 30];

const NUMBERS = {
  //                  default    least, most
  minDelayMs:        [1_000,     ...MS],
  maxDelayMs:        [30_000,    ...MS],
  stableMs:          [10_000,    0, MS[1]],
  connectTimeoutMs:  [15_000,    ...MS],
  tokenTimeoutMs:    [15_000,    ...MS],
  pongTimeoutMs:     [10_000,    ...MS],
  maxSends:          [50,        ...COUNT],
  maxSendBytes:      [1 << 20,   ...BYTES],
  maxMessageBytes:   [65_536,    ...BYTES],
  runBufferEvents:   [1_000,     ...COUNT],
  runBufferBytes:    [1 << 20,   ...BYTES],
  maxEndedRuns:      [20,        0, COUNT[1]],
  maxOpenRuns:       [256,       ...COUNT],
};

const OTHERS = {
  token: null, subprotocol: "agent_chat", cursor: null, heartbeatMs: null, confirm: true, autoConnect: true,
  comeBack: null, parse: JSON.parse, WebSocket: undefined, clock: null, page: globalThis,
};

const REAL_CLOCK = {
  now: () => Date.now(),
  random: () => Math.random(),
  setTimeout: (callback, ms) => setTimeout(callback, ms),
  clearTimeout: (timer) => clearTimeout(timer),
};

/** All options with a value; an unknown name or a value out of range is a fault. */
export function settle(given = {}) {
  for (const name of Object.keys(given))
    if (!Object.hasOwn(NUMBERS, name) && !Object.hasOwn(OTHERS, name)) throw bad(`there is no option "${name}"`);
  const settings = { ...OTHERS, ...withoutUndefined(given) };
  for (const [name, [standard, least, most]] of Object.entries(NUMBERS))
    settings[name] = number(name, given[name] ?? standard, least, most);
  if (settings.heartbeatMs !== null) number("heartbeatMs", settings.heartbeatMs, 0, MS[1]);
  settings.clock = { ...REAL_CLOCK, ...settings.clock };
  settings.WebSocket = webSocketOf(settings.WebSocket);
  return settings;
}

function withoutUndefined(given) {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

function number(name, value, least, most) {
  if (Number.isFinite(value) && value >= least && value <= most) return value;
  throw bad(`${name}: ${value} is no number from ${least} to ${most}`);
}

function webSocketOf(given) {
  const found = given ?? globalThis.WebSocket;
  if (typeof found === "function") return found;
  throw bad("there is no WebSocket here (Node before 22): install `ws` and give it: import WebSocket from \"ws\"; " +
    "new AgentSocket(url, { WebSocket, … })");
}

function bad(message) {
  return new AgentSocketError("BAD_OPTION", message);
}
