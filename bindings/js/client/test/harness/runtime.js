/** A runtime in the hands of a test: the flow tests' own, as a process, driven over its standard input. */
import { encode } from "@msgpack/msgpack";
import { Process } from "./process.js";
import { until } from "./wait.js";

const PYTHON = process.env.PYTHON ?? "/usr/bin/python3";
const base64 = (bytes) => Buffer.from(bytes).toString("base64");

export class Runtime extends Process {
  commands = [];
  subscribers = 0;
  ready = false;

  constructor(endpoints, options = {}) {
    super(PYTHON, ["-B", "tests/flow/harness/runtime_main.py", endpoints.commands, endpoints.events,
      JSON.stringify({ sequenced: true, ...options })]);
  }

  onLine(line) {
    super.onLine(line);
    if (!line.startsWith("{")) return;
    const told = JSON.parse(line);
    if (told.ready) this.ready = true;
    if (told.subscription) this.subscribers += told.subscription;
    if (told.command) this.commands.push({ ...told.command, body: Buffer.from(told.command.body, "base64") });
  }

  /** Publish an event, numbered. */
  emit(user, event) {
    this.#order("emit", [user, encode({ timestamp: Date.now() / 1000, user_id: user, ...event })]);
  }

  /** Frames as they are. */
  publish(frames) {
    this.#order("publish", frames);
  }

  /** A number that no event will come under. */
  lose(user) {
    this.#order("publish", [user, encode({ type: "nothing" }), encode({ publisher: "elsewhere", seq: 1 })]);
    this.#order("publish", [user, encode({ type: "nothing" }), encode({ publisher: "elsewhere", seq: 5 })]);
  }

  /** A command to the bridge. */
  send(name, connection = "", user = "", headers = {}, body = new Uint8Array()) {
    this.#order("route", [name, connection, user, encode(headers), body]);
  }

  /** The count-th command of this name. */
  async command(name, count = 1) {
    const found = () => this.commands.filter((command) => command.command === name);
    await until(() => found().length >= count, `${name} number ${count} at the runtime`);
    return found()[count - 1];
  }

  /** What clients have sent, as objects. */
  get messages() {
    return this.commands.filter(({ command, headers }) => command === "MESSAGE" && headers.opcode === "text")
      .map(({ body }) => JSON.parse(body));
  }

  #order(what, frames) {
    this.child.stdin.write(`${JSON.stringify({ what, frames: frames.map((frame) => base64(frame)) })}\n`);
  }
}

/** The demo agent of bindings/python. */
export class DemoAgent extends Process {
  constructor(endpoints, paceMs = 20) {
    super(PYTHON, ["-B", "bindings/python/demo_agent/demo_agent.py", "--commands", endpoints.commands, "--events",
      endpoints.events, "--pace-ms", String(paceMs)]);
  }
}
