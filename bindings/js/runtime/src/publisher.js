// Events on their way out: numbered, kept for REPLAY, handed to PUB at once.
//
//   Run.emit, Runtime.emit → Publisher.publish → PUB ──▶ bridges
//                                 └ Replay (the last ones) → link.js, when a bridge asks
import { randomBytes } from "node:crypto";
import { fault } from "./errors.js";
import { encode } from "./msgpack.js";

const BREATH = 64; // events, after which await lets other work of the event loop go first

/** The last events by number, without gaps, within a count and bytes. */
export class Replay {
  #events;
  #bytes;
  #held = [];
  #first = 0; // index of the oldest in #held
  #last = 0;  // number of the newest ever added
  bytes = 0;

  constructor(events, bytes) {
    this.#events = events;
    this.#bytes = bytes;
  }

  get length() {
    return this.#held.length - this.#first;
  }

  /** Number of the oldest one held; one above the newest when there is none. */
  get oldest() {
    return this.#last - this.length + 1;
  }

  add(user, body) {
    this.#held.push({ user, body });
    this.#last++;
    this.bytes += user.length + body.length;
    while (this.length > this.#events || this.bytes > this.#bytes) this.#drop();
  }

  get(seq) {
    return this.#held[this.#first + seq - this.oldest];
  }

  #drop() {
    const { user, body } = this.#held[this.#first];
    this.bytes -= user.length + body.length;
    this.#held[this.#first++] = undefined;
    if (this.#first > 1024 && this.#first * 2 > this.#held.length) {
      this.#held = this.#held.slice(this.#first);
      this.#first = 0;
    }
  }
}

export class Publisher {
  #socket = null;
  #options;
  #stats;
  #log;
  #burst = 0;       // events since the event loop last went round
  #round = null;    // promise of its next round
  replay;
  seq = 0;

  /** @param options {name, replayEvents, replayBytes, maxEventBytes, sendQueue} */
  constructor(options, stats, log) {
    this.name = `${options.name}_${randomBytes(8).toString("hex")}`; // new at every start: the numbers start anew
    this.replay = new Replay(options.replayEvents, options.replayBytes);
    this.#options = options;
    this.#stats = stats;
    this.#log = log;
  }

  attach(socket) {
    this.#socket = socket;
  }

  detach() {
    this.#socket = null;
  }

  /**
   * Number an event and hand it to PUB. Throws without a trace when it cannot be sent; `must` passes the limit of a burst.
   * PUB never blocks: beyond its high-water mark it drops, the bridge sees the gap in the numbers and asks for a replay.
   */
  publish(user, event, must = false) {
    if (!this.#socket) throw fault("NOT_RUNNING", "the runtime is not running: call start() first, and nothing after stop()");
    if (!must && this.#burst >= this.#options.sendQueue) {
      this.#stats.eventsRefused++;
      throw fault("QUEUE_FULL", `${this.#burst} events in one go (sendQueue): await every emit, so that they can leave`);
    }
    const body = encode(event, this.#options.maxEventBytes);
    const frame = Buffer.from(user);
    this.seq++;
    this.replay.add(frame, body);
    this.#count(body);
    this.#socket.send([frame, body, encode({ publisher: this.name, seq: this.seq })]).catch((error) =>
      this.#log("error", `event ${this.seq} was not handed to ZeroMQ (${error.message}); the bridge will ask for it`));
  }

  /** Resolves at once, or, when much was published since, after other work had its turn (PING, REPLAY, timers). */
  async pace() {
    if (this.#burst >= BREATH) await this.#round;
  }

  #count(body) {
    this.#stats.eventsPublished++;
    this.#stats.bytesPublished += body.length;
    this.#burst++;
    this.#round ??= new Promise((resolve) => setImmediate(() => {
      this.#burst = 0;
      this.#round = null;
      resolve();
    }));
  }
}
