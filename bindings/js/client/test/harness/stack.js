/** Everything that a test starts, and its end in the right order. */
import { createHmac } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import WebSocket from "ws";
import { AgentSocket } from "../../src/index.js";
import { Process, ROOT } from "./process.js";
import { Proxy } from "./proxy.js";
import { DemoAgent, Runtime } from "./runtime.js";
import { until } from "./wait.js";

export const SECRET = "client-test-secret-0123456789abcdef0123456789abcdef";
const BINARY = path.resolve(ROOT, process.env.AGENTBRIDGE_BIN ?? "build/release/bridge/agentbridge");
export const BUILD = path.resolve(path.dirname(BINARY), "..");

/** A compact JWT, signed for the bridges of these tests. */
export function token(user = "alice", ttl = 3600, claims = {}, secret = SECRET) {
  const now = Math.floor(Date.now() / 1000);
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const text = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: user, iat: now - 1, exp: now + ttl, ...claims })}`;
  return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`;
}

export class Stack {
  #ends = [];

  /** Ends with the test. */
  constructor(t) {
    t.after(() => this.finish());
  }

  async finish() {
    const faults = [];
    for (const end of this.#ends.reverse()) await Promise.resolve().then(end).catch((fault) => faults.push(fault));
    if (faults.length) throw faults[0];
  }

  onEnd(end) {
    this.#ends.push(end);
  }

  async #endpoints() {
    if (this.endpoints) return this.endpoints;
    const folder = (this.folder = await mkdtemp(path.join(tmpdir(), "agentbridge-js-")));
    this.onEnd(() => rm(folder, { recursive: true, force: true }));
    return (this.endpoints = { commands: `ipc://${folder}/c`, events: `ipc://${folder}/e` });
  }

  /** A runtime that says and does only what the test wants. */
  async startRuntime(options) {
    this.runtime = new Runtime(await this.#endpoints(), options);
    const { runtime } = this;
    this.onEnd(() => runtime.kill());
    await until(() => runtime.ready || !runtime.running, "the runtime is ready");
    if (!runtime.running) throw new Error(runtime.lines.join("\n"));
    return runtime;
  }

  async startDemoAgent(paceMs) {
    this.agent = new DemoAgent(await this.#endpoints(), paceMs);
    const { agent } = this;
    this.onEnd(() => agent.kill());
    await agent.line(/^demo agent ready/);
    return agent;
  }

  /** Any program that is a runtime; `words({commands, events})` are the program and its arguments. */
  async startAgent(words) {
    const [program, ...args] = words(await this.#endpoints());
    const agent = (this.agent = new Process(program, args));
    this.onEnd(() => agent.kill());
    return agent;
  }

  async ready() {
    await until(async () => (await fetch(`${this.admin}/readyz`)).ok, "the bridge is ready");
  }

  /** A bridge, ready; behind this.proxy, whose port stays. */
  async startBridge(options = {}) {
    if (!existsSync(BINARY)) throw new Error(`${BINARY} is not built (AGENTBRIDGE_BIN names another)`);
    const { commands, events } = await this.#endpoints();
    const all = { listen: "127.0.0.1:0", "admin-listen": "127.0.0.1:0", environment: "test", "bridge-id": "test-bridge",
      "jwt-secret": SECRET, "runtime-commands": `>${commands}`, "runtime-events": `>${events}`, ...options };
    const words = Object.entries(all).flatMap(([name, value]) => [`--${name}`, String(value)]);
    const bridge = (this.bridge = new Process(BINARY, ["serve", ...words]));
    this.onEnd(() => bridge.kill());
    const port = async (name) => JSON.parse((await bridge.line(new RegExp(`^.*"LISTENING".*"${name}".*$`)))[0]).port;
    await this.#behindProxy(await port("public"));
    this.admin = `http://127.0.0.1:${await port("admin")}`;
    await this.ready();
    if (this.runtime) await until(() => this.runtime.subscribers > 0, "the bridge has subscribed");
    return bridge;
  }

  async #behindProxy(port) {
    if (this.proxy) {
      this.proxy.target = port;
      return;
    }
    this.proxy = await Proxy.start(port);
    this.onEnd(() => this.proxy.stop());
    this.url = `ws://127.0.0.1:${this.proxy.port}/ws`;
  }

  /** A client that has not been waited for. Its events are in `seen`. */
  client(options = {}) {
    const socket = new AgentSocket(options.url ?? this.url, { WebSocket, token: async () => token(), minDelayMs: 20, maxDelayMs: 200,
      ...withoutUrl(options) });
    const seen = { events: [], states: [], resyncs: [], faults: [] };
    socket.on("event", (event) => seen.events.push(event));
    socket.on("state", ({ state }) => seen.states.push(state));
    socket.on("resync", (resync) => seen.resyncs.push(resync));
    socket.on("error", (fault) => seen.faults.push(fault));
    this.onEnd(() => socket.close());
    return Object.assign(socket, { seen });
  }

  /** A client that is online. */
  async online(options) {
    const socket = this.client(options);
    await until(() => socket.state === "online", "the client is online");
    return socket;
  }
}

function withoutUrl({ url, ...options }) {
  return options;
}
