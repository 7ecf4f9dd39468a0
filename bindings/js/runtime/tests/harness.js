// What the tests start, and its end: bridges, WebSocket clients, runtimes. Everything waits for conditions, within WAIT_MS.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHmac, randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import WebSocket from "ws";
import { Runtime } from "../src/index.js";

export const ROOT = fileURLToPath(new URL("../../../../", import.meta.url));
export const HERE = fileURLToPath(new URL("../", import.meta.url));
const BINARY = process.env.AGENTBRIDGE_BIN ?? join(ROOT, "build/release/bridge/agentbridge");
const SECRET = "runtime-test-secret-0123456789abcdef0123456789abcdef";
const WAIT_MS = 30_000 * Number(process.env.FLOW_TIME_SCALE ?? 1);

export const vectors = (name) => JSON.parse(readFileSync(join(ROOT, "proto/vectors", name), "utf8"));

/** Rejects when `promise` takes too long. */
export async function within(promise, what = "something") {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${WAIT_MS} ms for ${what}`)), WAIT_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Something that changes, and waits for what it becomes. */
export class Watch {
  #waiting = new Set();

  changed() {
    for (const look of [...this.#waiting]) look();
  }

  /** The first truthy value of `condition`, which is asked again at every change. */
  until(condition, what) {
    return within(new Promise((resolve, reject) => {
      const look = () => {
        try {
          const value = condition();
          if (!value) return;
          this.#waiting.delete(look);
          resolve(value);
        } catch (error) {
          this.#waiting.delete(look);
          reject(error);
        }
      };
      this.#waiting.add(look);
      look();
    }), what);
  }
}

function base64url(value) {
  return Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");
}

export function token(user, claims = {}) {
  const head = `${base64url({ alg: "HS256", typ: "JWT" })}.${base64url({ sub: user, exp: Math.floor(Date.now() / 1000) + 600, ...claims })}`;
  return `${head}.${createHmac("sha256", SECRET).update(head).digest("base64url")}`;
}

/** A bridge as a process. */
export class Bridge extends Watch {
  lines = [];
  noise = [];
  #process = null;
  #ports = {};

  constructor(options) {
    super();
    assert.ok(existsSync(BINARY), `${BINARY} is not built (AGENTBRIDGE_BIN names another)`);
    this.options = { listen: "127.0.0.1:0", "admin-listen": "127.0.0.1:0", environment: "test", "bridge-id": "test-bridge",
                     "jwt-secret": SECRET, "log-level": "debug", ...options };
  }

  async start() {
    const flags = Object.entries(this.options).flatMap(([name, value]) => [`--${name}`, String(value)]);
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) =>
      !name.startsWith("AGENTBRIDGE_") && name !== "ENVIRONMENT" && name !== "E2E_OAUTH_SIMULATION_KEY"));
    this.lines = [];
    this.#process = spawn(BINARY, ["serve", ...flags], { env, stdio: ["ignore", "ignore", "pipe"] });
    createInterface({ input: this.#process.stderr }).on("line", (line) => this.#read(line));
    for (const listener of ["public", "admin"])
      this.#ports[listener] = (await this.log("LISTENING", { listener })).port;
    return this;
  }

  #read(line) {
    try {
      this.lines.push(JSON.parse(line));
    } catch {
      this.noise.push(line);
    }
    this.changed();
  }

  log(id, fields = {}) {
    return this.until(() => this.lines.find((line) => line.id === id
      && Object.entries(fields).every(([name, value]) => line[name] === value)), `log ${id} of the bridge`);
  }

  async ready() {
    await pollUntil(async () => (await fetch(this.url("admin", "/readyz"))).status === 200, "/readyz");
    return this;
  }

  url(listener, path) {
    return `${listener === "admin" ? "http" : "ws"}://127.0.0.1:${this.#ports[listener]}${path}`;
  }

  /** Value of one metric, labels as they are written. */
  async metric(name) {
    const text = await (await fetch(this.url("admin", "/metrics"))).text();
    const line = text.split("\n").find((entry) => entry.startsWith(`${name} `));
    return line ? Number(line.slice(name.length + 1)) : undefined;
  }

  async end(signal = "SIGTERM") {
    if (!this.#process || this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const over = once(this.#process, "exit");
    this.#process.kill(signal);
    const [code] = await within(over, "the bridge's end");
    if (signal === "SIGTERM") assert.equal(code, 0, this.noise.join("\n"));
  }
}

export async function pollUntil(condition, what) {
  const until = Date.now() + WAIT_MS;
  for (;;) {
    if (await condition()) return;
    assert.ok(Date.now() < until, `waited ${WAIT_MS} ms for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** A WebSocket client that keeps what it is sent. */
export class Client extends Watch {
  messages = []; // parsed
  texts = [];    // as they came
  frames = [];   // binary ones
  ended = null;  // {code, reason}

  static async connect(bridge, user = "alice", { protocols = ["agent_chat"], query = "", established = true } = {}) {
    const client = new Client();
    client.socket = new WebSocket(bridge.url("public", `/ws${query}`), [`jwt.${token(user)}`, ...protocols]);
    client.socket.on("message", (data, binary) => client.#take(data, binary));
    client.socket.on("close", (code, reason) => {
      client.ended = { code, reason: reason.toString() };
      client.changed();
    });
    client.socket.on("error", () => {});
    if (established) client.established = await client.type("connection_established");
    else await within(once(client.socket, "open"), "the upgrade");
    return client;
  }

  #take(data, binary) {
    if (binary) this.frames.push(data);
    else {
      const text = data.toString();
      this.texts.push(text);
      try {
        this.messages.push(JSON.parse(text));
      } catch {
        this.messages.push(text);
      }
    }
    this.changed();
  }

  say(message) {
    this.socket.send(typeof message === "string" || message instanceof Uint8Array ? message : JSON.stringify(message));
  }

  type(type, count = 1) {
    return this.until(() => this.messages.filter((message) => message.type === type)[count - 1], `${count} × ${type} in ${this.types()}`);
  }

  /** Types of all events so far, without the bridge's own messages. */
  types() {
    return this.events().map((message) => message.type);
  }

  events() {
    return this.messages.filter((message) => message.event_id !== undefined);
  }

  closed() {
    return this.until(() => this.ended, "the close of the connection");
  }

  async end() {
    if (this.socket.readyState !== WebSocket.CLOSED) {
      this.socket.close();
      await this.closed();
    }
  }
}

/** Makes things for one test and ends them after it. */
export class Stack {
  #ends = [];
  #directory = mkdtempSync(join(tmpdir(), "abr-"));
  logs = [];

  constructor(t) {
    t.after(() => this.#finish());
  }

  defer(end) {
    this.#ends.unshift(end);
  }

  endpoints() {
    const name = randomBytes(4).toString("hex");
    return { commands: `ipc://${this.#directory}/${name}c`, events: `ipc://${this.#directory}/${name}e` };
  }

  path(name) {
    return join(this.#directory, name);
  }

  /** A started runtime that keeps its log in `logs`. */
  async runtime(options = {}) {
    const endpoints = this.endpoints();
    const runtime = new Runtime({ ...endpoints, log: (level, text) => this.logs.push(`${level}: ${text}`), ...options });
    runtime.at = { "runtime-commands": `>${endpoints.commands}`, "runtime-events": `>${endpoints.events}` };
    this.defer(() => runtime.stop());
    await runtime.start();
    return runtime;
  }

  async bridge(runtime, options = {}, ready = true) {
    const bridge = new Bridge({ ...runtime?.at, ...options });
    this.defer(() => bridge.end());
    await bridge.start();
    return ready ? bridge.ready() : bridge;
  }

  async client(bridge, user, options) {
    const client = await Client.connect(bridge, user, options);
    this.defer(() => client.end());
    return client;
  }

  /** A Node program; `out()` are its lines of stdout so far. */
  program(args, options = {}) {
    const child = spawn(process.execPath, args, { stdio: ["pipe", "pipe", "pipe"], ...options });
    const watch = Object.assign(new Watch(), { child, out: [], err: [] });
    for (const [stream, lines] of [[child.stdout, watch.out], [child.stderr, watch.err]])
      createInterface({ input: stream }).on("line", (line) => { lines.push(line); watch.changed(); });
    watch.exit = once(child, "exit").then(([code, signal]) => ({ code, signal }));
    this.defer(async () => {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
      await watch.exit;
    });
    return watch;
  }

  /** Ports that nothing else takes until the test is over (tests/ports.py). */
  async ports(count) {
    const code = "import sys; sys.path.insert(0, 'tests'); import ports\n"
      + `print(*(ports.free_port() for _ in range(${count})), flush=True); sys.stdin.read()`;
    const holder = spawn("/usr/bin/python3", ["-B", "-c", code], { cwd: ROOT, stdio: ["pipe", "pipe", "inherit"] });
    this.defer(async () => {
      const over = once(holder, "exit");
      holder.stdin.end();
      await over;
    });
    const [line] = await within(once(createInterface({ input: holder.stdout }), "line"), "free ports");
    return line.split(" ").map(Number);
  }

  /** Runtime, bridge and a client of alice. */
  async all({ runtime: ours = {}, bridge: theirs = {}, user = "alice", prepare = () => {} } = {}) {
    const runtime = await this.runtime(ours);
    prepare(runtime);
    const bridge = await this.bridge(runtime, theirs);
    return { runtime, bridge, client: await this.client(bridge, user) };
  }

  async #finish() {
    const faults = [];
    for (const end of this.#ends) await end().catch((error) => faults.push(error));
    rmSync(this.#directory, { recursive: true, force: true });
    if (faults.length) throw faults[0];
  }
}

/** A promise with its resolve. */
export function gate() {
  const made = {};
  made.promise = new Promise((resolve) => { made.open = resolve; });
  return made;
}
