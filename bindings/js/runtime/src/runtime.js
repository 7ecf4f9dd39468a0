// The runtime: what comes from bridges goes to handlers, what runs say goes to all bridges.
import { AsyncLocalStorage } from "node:async_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import * as zmq from "zeromq";
import { closeFault } from "./commands.js";
import { Connection, Connections, Message } from "./connection.js";
import { checkCurve, curveOptions, Gate } from "./curve.js";
import { attach, isLocal, parseEndpoints } from "./endpoints.js";
import { AgentError, CancelledError, fault } from "./errors.js";
import { checkFields, checkText, checkUser, stamp } from "./fields.js";
import { Link } from "./link.js";
import { encode } from "./msgpack.js";
import { checkOptions } from "./options.js";
import { Publisher } from "./publisher.js";
import { Run } from "./run.js";
import { Tasks } from "./tasks.js";
import { asyncDispose } from "./tool.js";

const HANDLERS = ["message", "connect", "disconnect", "abandoned", "bridge"];
const ROUTER_QUEUE = 100;    // commands in ZeroMQ for one bridge; more wait in Link, where their bytes count
const MAX_TIMER_MS = 2 ** 31 - 1;
const SETTLE_MS = 1000;      // how long stop() waits for handlers whose runs it has cancelled

function noStats() {
  return { eventsPublished: 0, bytesPublished: 0, eventsRefused: 0, eventsReplayed: 0, eventsLost: 0, replaysRefused: 0,
           commandsReceived: 0, commandsMalformed: 0, commandsRefused: 0, messagesRefused: 0, handlerErrors: 0, callsRefused: 0,
           peersRefused: 0 };
}

export class Runtime {
  #options;
  #stats = noStats();
  #handlers = new Map(HANDLERS.map((name) => [name, []]));
  #within = new AsyncLocalStorage(); // the Set of open runs that the present handler has started
  #state = "new";                    // new, running, stopping, stopped
  #started = Promise.resolve();
  #stopped = null;
  #runs = new Map();
  #logged = new WeakSet();           // errors that the log has
  #told = new WeakSet();             // those that a client has been told
  #ending = null;                    // called when a run ends, while stop() waits
  #connections;
  #tasks;
  #publisher;
  #link;
  #events = null;
  #gate = null;
  #bound = { commands: [], events: [] };

  constructor(options) {
    this.#options = checkOptions(options);
    checkCurve(this.#options.curve);
    this.#connections = new Connections(this.#options.maxConnections);
    this.#tasks = new Tasks(this.#options.maxHandlers, this.#options.maxWaiting);
    this.#publisher = new Publisher(this.#options, this.#stats, this.#log);
    this.#link = new Link(this.#options, this.#publisher, this.#stats, this.#log, (command, peer) => this.#take(command, peer));
  }

  // --- life

  async start() {
    if (this.#state !== "new") throw fault("NOT_RUNNING", `start(): this runtime is ${this.#state}; make a new one`);
    this.#state = "running";
    this.#started = this.#open();
    try {
      await this.#started;
    } catch (error) {
      this.#state = "stopped";
      throw error;
    }
    return this;
  }

  async #open() {
    const { curve, lingerMs, sendQueue, maxCommandBytes } = this.#options;
    const lists = { commands: this.#endpoints("commands"), events: this.#endpoints("events") };
    const context = await this.#secured(curve);
    const common = (name) => ({ ...context, linger: lingerMs, sendTimeout: 0, maxMessageSize: maxCommandBytes,
                                ...curveOptions(curve, name, lists[name]) });
    const router = new zmq.Router({ ...common("commands"), handover: true, mandatory: true, sendHighWaterMark: ROUTER_QUEUE });
    this.#events = new zmq.Publisher({ ...common("events"), sendHighWaterMark: sendQueue });
    try {
      this.#bound.events = await attach(this.#events, "events", lists.events);
      this.#bound.commands = await attach(router, "commands", lists.commands);
    } catch (error) {
      for (const socket of [router, this.#events, this.#gate]) socket?.close();
      throw error;
    }
    this.#publisher.attach(this.#events);
    this.#link.start(router);
  }

  #endpoints(name) {
    const endpoints = parseEndpoints(name, this.#options[name]);
    const open = this.#options.curve ? undefined : endpoints.find(({ address }) => !isLocal(address));
    if (open) throw fault("BAD_ARGUMENT", `${name}: ${open.address} can be reached from other machines and needs the option curve`);
    return endpoints;
  }

  // Gatekeepers (ZAP) belong to a context, so a runtime with keys has one of its own.
  async #secured(curve) {
    if (!curve) return {};
    const context = new zmq.Context();
    this.#gate = new Gate(context, curve.peerKeys, () => {
      this.#stats.peersRefused++;
      this.#log("warn", "a peer without one of the keys in curve.peerKeys was turned away");
    });
    await this.#gate.open();
    return { context };
  }

  stop({ graceMs = 0 } = {}) {
    this.#stopped ??= this.#stop(graceMs);
    return this.#stopped;
  }

  async #stop(graceMs) {
    this.#state = this.#state === "running" ? "stopping" : "stopped";
    await this.#started.catch(() => { this.#state = "stopped"; });
    if (this.#state === "stopped") return;
    this.#tasks.releaseAll();
    await this.#runsToEnd(graceMs);
    for (const run of [...this.#runs.values()]) run.cancel("The agent is shutting down.");
    await this.#handlersToEnd();
    await this.#link.flush(this.#options.lingerMs);
    this.#state = "stopped";
    this.#publisher.detach();
    this.#events.close();
    await this.#link.stop();
    this.#gate?.close();
  }

  async #runsToEnd(ms) {
    const late = new AbortController();
    const timer = sleep(Math.min(ms, MAX_TIMER_MS), undefined, { signal: late.signal }).catch(() => {});
    const none = new Promise((resolve) => {
      this.#ending = () => this.#runs.size === 0 && resolve();
      this.#ending();
    });
    await Promise.race([none, timer]);
    late.abort();
    this.#ending = null;
  }

  async #handlersToEnd() {
    const until = Date.now() + SETTLE_MS;
    while (this.#tasks.running + this.#tasks.waiting > 0 && Date.now() < until) await sleep(5);
    if (this.#tasks.running > 0) this.#log("warn", `${this.#tasks.running} handlers were still at work after stop(): they do not heed run.signal`);
  }

  [asyncDispose]() {
    return this.stop();
  }

  // --- what can be seen

  get publisher() {
    return this.#publisher.name;
  }

  get endpoints() {
    return { commands: [...this.#bound.commands], events: [...this.#bound.events] };
  }

  get stats() {
    return { ...this.#stats, eventsHeld: this.#publisher.replay.length, bytesHeld: this.#publisher.replay.bytes,
             runs: this.#runs.size, connections: this.#connections.size, connectionsEvicted: this.#connections.evicted,
             handlersRunning: this.#tasks.running, handlersWaiting: this.#tasks.waiting };
  }

  get runs() {
    return new Map(this.#runs);
  }

  get connections() {
    return [...this.#connections];
  }

  // A log that throws must not take the runtime with it.
  #log = (level, text) => {
    try {
      this.#options.log(level, text);
    } catch (error) {
      console.error(`agentbridge: the log function threw ${error}; it was to say: ${level}: ${text}`);
    }
  };

  // --- handlers

  on(name, handler) {
    if (!this.#handlers.has(name)) throw fault("BAD_ARGUMENT", `on("${name}"): there are ${HANDLERS.join(", ")}`);
    if (typeof handler !== "function") throw fault("BAD_ARGUMENT", `on("${name}"): the handler is a function`);
    this.#handlers.get(name).push(handler);
    return this;
  }

  off(name, handler) {
    const list = this.#handlers.get(name) ?? [];
    if (list.includes(handler)) list.splice(list.indexOf(handler), 1);
    return this;
  }

  // Resolves when there is room for another (back-pressure for Link).
  async #tell(name, subject) {
    for (const handler of this.#handlers.get(name)) await this.#tasks.push(() => this.#handle(name, handler, subject));
  }

  async #handle(name, handler, subject) {
    if (name === "message" && this.#state !== "running") return this.#refuse(subject, "The agent is shutting down.");
    const started = new Set(); // and not ended
    try {
      await this.#within.run(started, () => handler(subject));
    } catch (error) {
      if (!(error instanceof CancelledError) && !this.#told.has(error)) this.#handlerFailed(name, error);
      for (const run of [...started]) await run.fail(error).catch(() => {});
    }
  }

  #handlerFailed(name, error) {
    this.#stats.handlerErrors++;
    this.#logOnce(error, `the handler of "${name}" failed`);
  }

  async #take({ command, connection: id, user, headers, body }, peer) {
    switch (command) {
      case "HELLO": return this.#hello(peer, headers);
      case "ABANDONED": return void this.#abandoned(peer, user, headers.runs); // asks other bridges: reading goes on meanwhile
    }
    const connection = this.#connections.get(peer, id, user);
    switch (command) {
      case "CONNECT":
        connection.learn(headers);
        return this.#tell("connect", connection);
      case "DISCONNECT":
        this.#connections.remove(connection);
        return this.#tell("disconnect", { connection, user, code: headers.code, reason: headers.reason ?? "", remaining: headers.remaining });
      case "MESSAGE":
        return this.#message(new Message(connection, headers, body));
    }
  }

  async #hello(peer, { bridge, protocol }) {
    if (typeof bridge === "string") peer.name = bridge;
    if (protocol !== 1) this.#log("warn", `bridge "${peer.name}" speaks protocol ${protocol}, this package 1`);
    this.#connections.begin(peer);
    await this.#link.hello(peer);
    await this.#tell("bridge", { name: peer.name });
  }

  // A user who has left one bridge may be at another and read the same run there.
  async #abandoned(peer, user, runIds) {
    const cancels = this.#options.cancelAbandoned && !(await this.#isElsewhere(user, peer));
    const cancelled = cancels
      ? runIds.filter((id) => this.#runs.get(id)?.user === user && this.#runs.get(id).cancel("Nobody was there to read it.")) : [];
    await this.#tell("abandoned", { user, runs: runIds, cancelled, bridge: peer.name });
  }

  async #isElsewhere(user, peer) {
    for (const key of this.#connections.bridgesOf(user)) {
      if (key === peer.key) continue;
      if (await this.#link.reaches(key)) return true;
      this.#connections.forget(key);
    }
    return false;
  }

  async #message(message) {
    if (this.#handlers.get("message").length === 0) return this.#refuse(message, "The agent takes no messages.");
    await this.#tell("message", message);
  }

  // Said as the bridge says it when there is no runtime, so that front ends need to know one word only.
  async #refuse(message, why) {
    this.#stats.messagesRefused++;
    this.#log("warn", `message ${message.seq} of ${message.connection.id} refused: ${why}`);
    if (message.connection.subprotocol === "raw") return;
    const given = messageId(message);
    this.send(message, { type: "error_message", error_code: "RUNTIME_UNAVAILABLE", error_message: why,
                         details: given === undefined ? {} : { message_id: given } });
  }

  // --- runs

  startRun(user, { task, fields, ...options } = {}) {
    return this.#guard("startRun", async () => {
      const run = this.#begin(user, task, fields, options);
      await this.#publisher.pace();
      return run;
    });
  }

  #begin(user, task, fields, { agentName = this.#options.agentName, signal, ...given }) {
    const { threadId, runId, ...unknown } = asOnTheWire(given);
    checkUser(user);
    this.#mayBegin(runId, Object.keys(unknown));
    signal?.throwIfAborted();
    const handlers = this.#within.getStore();
    const run = new Run(this.#port(handlers), user, { threadId, runId, agentName, signal });
    run.begin(task, fields);
    this.#runs.set(run.id, run);
    handlers?.add(run);
    return run;
  }

  #mayBegin(runId, unknown) {
    if (unknown.length)
      throw fault("BAD_ARGUMENT", `run: "${unknown[0]}" is no option; there are threadId, runId, agentName, task, fields, signal`);
    if (this.#state !== "running") throw fault("NOT_RUNNING", `the runtime is ${this.#state}: it starts no runs`);
    if (this.#runs.has(runId)) throw fault("BAD_ARGUMENT", `run "${runId}" is open already`);
    if (this.#runs.size >= this.#options.maxRuns) throw fault("QUEUE_FULL", `${this.#runs.size} runs are open (maxRuns)`);
  }

  #port(handlers) {
    return {
      publish: (...event) => this.#publisher.publish(...event),
      pace: () => this.#publisher.pace(),
      closed: (run) => {
        this.#runs.delete(run.id);
        handlers?.delete(run);
        this.#ending?.();
      },
      refused: (run, error) => this.#refused(`run ${run.id}`, error),
      failed: (run, error) => (error instanceof AgentError ? this.#told.add(error) : this.#logOnce(error, `run ${run.id} failed`)),
    };
  }

  // What is refused and not awaited must not end the process (unhandledRejection): it is counted and logged.
  #guard(where, work) {
    const done = work();
    done.catch((error) => this.#refused(where, error));
    return done;
  }

  #refused(where, error) {
    if (error instanceof CancelledError || this.#told.has(error) || this.#logged.has(error)) return;
    this.#stats.callsRefused++;
    if (Object(error) === error) this.#logged.add(error);
    this.#log("warn", `${where}: refused: ${error?.message ?? error}`);
  }

  // An error passes through tool, run and handler; its stack is wanted once.
  #logOnce(error, where) {
    const known = this.#logged.has(error);
    if (Object(error) === error) this.#logged.add(error);
    this.#log("error", `${where}: ${known ? error : error?.stack ?? error}`);
  }

  run(user, options, body) {
    if (typeof options === "function") [options, body] = [{}, options];
    return this.#guard("run", () => this.#run(user, options, body));
  }

  async #run(user, options, body) {
    if (typeof body !== "function") throw fault("BAD_ARGUMENT", "run(user, options, body): body is a function of the run");
    const run = await this.startRun(user, options);
    try {
      const result = await body(run);
      run.signal.throwIfAborted();
      if (!run.ended) await run.complete(result);
      return result;
    } catch (error) {
      run.signal.throwIfAborted();
      if (!run.ended) await run.fail(error);
      throw error;
    }
  }

  cancelRuns(user, which = {}) {
    checkUser(user);
    const { runId, threadId, reason } = asOnTheWire(which);
    const asked = [...this.#runs.values()].filter((run) => run.user === user
      && (runId === undefined || run.id === runId) && (threadId === undefined || run.threadId === threadId));
    return asked.filter((run) => run.cancel(reason)).length;
  }

  emit(user, type, fields) {
    return this.#guard("emit", async () => {
      checkUser(user);
      checkText("type", type);
      this.#publisher.publish(user, { ...stamp(type, user), ...checkFields(fields) });
      await this.#publisher.pace();
    });
  }

  // --- to single connections

  send(to, event) {
    return this.#toConnection(to, "SEND", ({ id, user }) => {
      const { type, ...fields } = event ?? {};
      checkText("event.type", type);
      const whole = { ...stamp(type, user), connection_id: id, ...checkFields(fields, ["connection_id"]) };
      return { body: encode(whole, this.#options.maxEventBytes) };
    });
  }

  sendFrame(to, data) {
    return this.#toConnection(to, "SEND", () => {
      const text = typeof data === "string";
      if (!text && !(data instanceof Uint8Array)) throw fault("BAD_ARGUMENT", "sendFrame(connection, data): a string or bytes (Uint8Array)");
      const body = Buffer.from(data);
      if (body.length > this.#options.maxEventBytes)
        throw fault("EVENT_TOO_LARGE", `a frame of ${body.length} bytes; at most ${this.#options.maxEventBytes} (maxEventBytes)`);
      return { headers: { opcode: text ? "text" : "binary" }, body };
    });
  }

  close(to, { code = 1000, reason = "" } = {}) {
    return this.#toConnection(to, "CLOSE", () => {
      checkClose(code, reason);
      return { headers: { code, reason } };
    });
  }

  kick(user, { reason = "Kicked" } = {}) {
    return this.#guard("kick", async () => {
      checkUser(user);
      checkClose(1000, reason);
      this.#mustRun();
      await this.#link.sendAll("KICK", { user, headers: { reason } });
    });
  }

  #toConnection(to, command, parts) {
    return this.#guard(command, async () => this.#handOver(connectionOf(to), command, parts));
  }

  async #handOver(connection, command, parts) {
    const { headers = null, body } = parts(connection);
    this.#mustRun();
    if (!connection.open) throw fault("CONNECTION_GONE", `connection ${connection.id} has closed`);
    await this.#link.send(connection.bridgeKey, command, { connection: connection.id, user: connection.user, headers, body });
  }

  #mustRun() {
    if (this.#state !== "running" && this.#state !== "stopping")
      throw fault("NOT_RUNNING", `the runtime is ${this.#state}; commands go out between start() and stop()`);
  }
}

function checkClose(code, reason) {
  const wrong = closeFault(code, reason);
  if (wrong) throw fault("BAD_ARGUMENT", wrong);
}

/** The ids as clients and bridges name them: half a surrogate pair is U+FFFD there. */
function asOnTheWire(ids) {
  const whole = (text) => (typeof text === "string" ? text.toWellFormed() : text);
  return { ...ids, runId: whole(ids.runId), threadId: whole(ids.threadId) };
}

function connectionOf(to) {
  const connection = to instanceof Message ? to.connection : to;
  if (!(connection instanceof Connection)) throw fault("BAD_ARGUMENT", "a Connection or a Message, as handlers are given them");
  return connection;
}

function messageId(message) {
  try {
    const { message_id } = message.json();
    return typeof message_id === "string" ? message_id : undefined;
  } catch {
    return undefined;
  }
}
