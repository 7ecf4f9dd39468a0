// The ROUTER and the bridges behind it.
//
//   bridge ──▶ ROUTER → Link.#serve → parseCommand → HELLO, PING, REPLAY: answered here
//                                                  → the rest: handed up (runtime.js)
//   bridge ◀── ROUTER ← Peer.#pump ← Peer.send ← answers, SEND, CLOSE, KICK
import { setTimeout as sleep } from "node:timers/promises";
import { makeCommand, Malformed, parseCommand } from "./commands.js";
import { fault } from "./errors.js";
import { PROTOCOL, VERSION } from "./version.js";

const MAX_PEERS = 256;
const MAX_REPLAYS = 8;   // questions of one bridge that wait; it asks one at a time
const RETRY_MS = 2;      // a bridge that does not read is tried again after this
const BUSY_MS = 10_000;  // and given up after this

/** One bridge: what is to go to it, in order. */
class Peer {
  #link;
  #queue = [];
  #bytes = 0;
  #pumping = false;
  replays = 0;
  replaying = Promise.resolve();

  constructor(link, id) {
    this.#link = link;
    this.id = id;
    this.key = id.toString("hex");
    this.name = id.toString(); // the routing id of a bridge is its name
  }

  get waiting() {
    return this.#queue.length;
  }

  /** Resolves when ZeroMQ has it; rejects with QUEUE_FULL, BRIDGE_GONE or BRIDGE_BUSY. */
  send(frames) {
    const { commandQueue, commandQueueBytes } = this.#link.options;
    const bytes = frames.reduce((sum, frame) => sum + frame.length, 0);
    if (this.#queue.length >= commandQueue || (this.#bytes + bytes > commandQueueBytes && this.#queue.length > 0)) {
      this.#link.stats.commandsRefused++;
      return Promise.reject(fault("QUEUE_FULL",
        `${this.#queue.length} commands wait for bridge "${this.name}" (commandQueue, commandQueueBytes): await each, and see whether it reads`));
    }
    return new Promise((resolve, reject) => {
      this.#queue.push({ frames, bytes, resolve, reject });
      this.#bytes += bytes;
      if (!this.#pumping) this.#pump();
    });
  }

  async #pump() {
    this.#pumping = true;
    while (this.#queue.length > 0) {
      const { frames, resolve, reject } = this.#queue[0];
      try {
        await this.#hand(frames);
        this.#shift();
        resolve();
      } catch (error) {
        if (error.code === "BRIDGE_GONE" || error.code === "BRIDGE_BUSY") this.#giveUp(error);
        else this.#shift(), reject(error);
      }
    }
    this.#pumping = false;
  }

  // ROUTER says EAGAIN for the one bridge whose queue is full; the others must not wait for it.
  async #hand(frames) {
    const until = Date.now() + BUSY_MS;
    for (;;) {
      try {
        return await this.#link.socket.send([this.id, ...frames]);
      } catch (error) {
        if (error.code !== "EAGAIN") throw this.#explain(error);
      }
      if (Date.now() > until) throw fault("BRIDGE_BUSY", `bridge "${this.name}" has not read for ${BUSY_MS / 1000} s`);
      await sleep(RETRY_MS);
    }
  }

  #explain(error) {
    if (error.code === "EHOSTUNREACH") return fault("BRIDGE_GONE", `bridge "${this.name}" is not connected; the connection went with it`);
    if (error.code === "EBADF") return fault("NOT_RUNNING", "the runtime has stopped");
    return error;
  }

  #shift() {
    this.#bytes -= this.#queue.shift().bytes;
  }

  #giveUp(error) {
    const lost = this.#queue.splice(0);
    this.#bytes = 0;
    for (const { reject } of lost) reject(error);
  }
}

export class Link {
  #publisher;
  #upward;
  #log;
  #peers = new Map(); // hex of the routing id -> Peer
  #serving = null;
  socket = null;

  /** @param upward async (command, peer): what is for the runtime; the next command is read when it has resolved */
  constructor(options, publisher, stats, log, upward) {
    this.options = options;
    this.stats = stats;
    this.#publisher = publisher;
    this.#log = log;
    this.#upward = upward;
  }

  start(socket) {
    this.socket = socket;
    this.#serving = this.#serve();
  }

  /** Resolves when every command that was accepted has been handed to ZeroMQ, or after `ms`. */
  async flush(ms) {
    const until = Date.now() + ms;
    while ([...this.#peers.values()].some((peer) => peer.waiting > 0) && Date.now() < until) await sleep(RETRY_MS);
  }

  async stop() {
    this.socket.close();
    await this.#serving;
  }

  /** To one bridge, by the key of its routing id. */
  async send(key, command, parts) {
    const peer = this.#peers.get(key);
    if (!peer) throw fault("BRIDGE_GONE", "that bridge has not been heard of by this runtime");
    await peer.send(makeCommand(command, parts));
  }

  /** To every bridge that is there. */
  async sendAll(command, parts) {
    if (this.#peers.size === 0) throw fault("BRIDGE_GONE", "no bridge has been heard of yet");
    const sent = await Promise.allSettled([...this.#peers.keys()].map((key) => this.send(key, command, parts)));
    const failed = sent.find(({ status, reason }) => status === "rejected" && reason.code !== "BRIDGE_GONE");
    if (failed) throw failed.reason;
  }

  /** Whether that bridge is connected. */
  async reaches(key) {
    try {
      await this.send(key, "PING", { headers: { t: 0 } });
      return true;
    } catch (error) {
      return error.code !== "BRIDGE_GONE";
    }
  }

  async #serve() {
    while (!this.socket.closed) {
      try {
        for await (const [id, ...frames] of this.socket) await this.#take(id, frames);
      } catch (error) {
        if (this.socket.closed) return;
        this.#log("error", `reading commands: ${error.message}`);
        await sleep(RETRY_MS);
      }
    }
  }

  async #take(id, frames) {
    this.stats.commandsReceived++;
    let command;
    try {
      command = parseCommand(frames);
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      this.stats.commandsMalformed++;
      return this.#log("warn", `malformed command dropped: ${error.message}`);
    }
    const peer = this.#peer(id);
    await (this.#own(command, peer) ?? this.#upward(command, peer));
  }

  #peer(id) {
    const key = id.toString("hex");
    const peer = this.#peers.get(key) ?? new Peer(this, id);
    this.#peers.delete(key);
    this.#peers.set(key, peer); // the one that was silent for the longest time stands first
    if (this.#peers.size > MAX_PEERS) this.#peers.delete(this.#peers.keys().next().value);
    return peer;
  }

  /** What needs no runtime author; undefined when it does. */
  #own({ command, headers }, peer) {
    switch (command) {
      case "PING": return this.#answer(peer, "PONG", { t: headers.t, seq: this.#publisher.seq });
      case "PONG": return Promise.resolve();
      case "REPLAY": return this.#queueReplay(peer, headers);
      default: return undefined;
    }
  }

  hello(peer) {
    return this.#answer(peer, "HELLO", { protocol: PROTOCOL, runtime: this.options.name, publisher: this.#publisher.name,
                                         seq: this.#publisher.seq, sdk: `agentbridge-node/${VERSION}` });
  }

  // Nobody waits for an answer: reading goes on while a bridge that does not read is being tried.
  #answer(peer, command, headers) {
    peer.send(makeCommand(command, { headers })).catch((error) =>
      this.#log("warn", `${command} for bridge "${peer.name}": ${error.message}`));
    return Promise.resolve();
  }

  #queueReplay(peer, question) {
    if (peer.replays >= MAX_REPLAYS) {
      this.stats.replaysRefused++;
      this.#log("warn", `REPLAY of bridge "${peer.name}" dropped: ${MAX_REPLAYS} wait already`);
      return Promise.resolve();
    }
    peer.replays++;
    peer.replaying = peer.replaying.then(() => this.#replay(peer, question))
      .catch((error) => this.#log("warn", `REPLAY for bridge "${peer.name}": ${error.message}`))
      .finally(() => peer.replays--);
    return Promise.resolve();
  }

  /** In ascending order: EVENT for what is held, LOST for what is not; of another publisher everything is lost. */
  async #replay(peer, { publisher, from, to }) {
    if (publisher !== this.#publisher.name) return this.#lost(peer, publisher, from, to);
    const last = Math.min(Number(to), this.#publisher.seq);
    for (let seq = Number(from); seq <= last; seq++) {
      const oldest = this.#publisher.replay.oldest;
      if (seq < oldest) {
        const end = Math.min(last, oldest - 1);
        await this.#lost(peer, publisher, seq, end);
        seq = end;
        continue;
      }
      const { user, body } = this.#publisher.replay.get(seq);
      await peer.send(makeCommand("EVENT", { user, headers: { publisher, seq }, body }));
      this.stats.eventsReplayed++;
    }
  }

  async #lost(peer, publisher, from, to) {
    this.stats.eventsLost += Number(to) - Number(from) + 1;
    this.#log("warn", `bridge "${peer.name}" misses events ${from} to ${to} of ${publisher}, which are no longer held (replayEvents, replayBytes)`);
    await peer.send(makeCommand("LOST", { headers: { publisher, from, to } }));
  }
}
