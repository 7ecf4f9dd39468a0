// What a Runtime can be told, with defaults and limits.
import { fault } from "./errors.js";

const TEXT = (value) => typeof value === "string" && value !== "";
const FLAG = (value) => typeof value === "boolean";
const CALL = (value) => typeof value === "function";
const ANY = () => true;
const whole = (low, high) => Object.assign((value) => Number.isSafeInteger(value) && value >= low && value <= high,
                                           { says: `a whole number from ${low} to ${high}` });
const NAME = Object.assign((value) => typeof value === "string" && /^[^\p{Cc}]{1,64}$/u.test(value) && Buffer.byteLength(value) <= 100,
                           { says: "1 to 64 characters" });

/** name: [default, check] */
const OPTIONS = {
  commands: ["@tcp://127.0.0.1:5555", TEXT],
  events: ["@tcp://127.0.0.1:5556", TEXT],
  name: ["agent", NAME],
  agentName: [undefined, TEXT],
  replayEvents: [10_000, whole(1, 10_000_000)],
  replayBytes: [64 * 2 ** 20, whole(1, 2 ** 40)],
  maxEventBytes: [2 ** 20, whole(256, 2 ** 30)],
  maxCommandBytes: [16 * 2 ** 20, whole(65_536, 2 ** 30)],
  sendQueue: [10_000, whole(1, 10_000_000)],
  commandQueue: [1000, whole(10, 1_000_000)],
  commandQueueBytes: [16 * 2 ** 20, whole(65_536, 2 ** 40)],
  maxHandlers: [1000, whole(1, 1_000_000)],
  maxWaiting: [1000, whole(1, 1_000_000)],
  maxRuns: [10_000, whole(1, 1_000_000)],
  maxConnections: [100_000, whole(1, 10_000_000)],
  lingerMs: [2000, whole(0, 600_000)],
  cancelAbandoned: [true, FLAG],
  curve: [undefined, ANY],
  log: [(level, text) => console.error(`agentbridge: ${level}: ${text}`), CALL],
};
const SAYS = new Map([[TEXT, "a string that is not empty"], [FLAG, "true or false"], [CALL, "a function (level, text)"]]);

/** All options; throws BAD_ARGUMENT with the name of the one that is wrong. */
export function checkOptions(given = {}) {
  for (const name of Object.keys(given))
    if (!Object.hasOwn(OPTIONS, name))
      throw fault("BAD_ARGUMENT", `"${name}" is no option; there are ${Object.keys(OPTIONS).join(", ")}`);
  const options = {};
  for (const [name, [fallback, check]] of Object.entries(OPTIONS)) {
    options[name] = given[name] ?? fallback;
    if (options[name] !== undefined && !check(options[name]))
      throw fault("BAD_ARGUMENT", `${name}: ${check.says ?? SAYS.get(check)}`);
  }
  options.agentName ??= options.name;
  return options;
}
