/* What the application sends, from send() to the answer.
 *
 *   add ──▶ waiting ── attach, write ──▶ flying ── confirm ──▶ resolved
 *              │                            ├── refuse ───────▶ rejected with the bridge's error code
 *              └── overflow, withdrawn      └── detach ───────▶ rejected: UNCONFIRMED
 *
 * The bridge does not acknowledge messages, but it handles frames in order and answers each that it could not hand over with an
 * error. So the answer to a ping that was sent behind a message says that the message was handed over. One ping at a time is under
 * way; it speaks for everything that was written before it.
 */
import { AgentSocketError } from "./errors.js";

export class Outbox {
  #waiting = [];
  #flying = []; // in the order written
  #bytes = 0;
  #send = null; // the line's, while there is one
  #written = 0;
  #ping = null; // {id, written}
  #pings = 0;

  constructor({ maxMessages, maxBytes, confirm, prefix }) {
    Object.assign(this, { maxMessages, maxBytes, confirmed: confirm, prefix });
  }

  /** Messages whose fate is not known yet. */
  get size() {
    return this.#waiting.length + this.#flying.length;
  }

  get bytes() {
    return this.#bytes;
  }

  /** `entry`: {id, data, bytes, signal}. Resolves with {id, confirmed}. */
  add(entry) {
    return new Promise((resolve, reject) => {
      const fault = this.#refusal(entry);
      if (fault) return reject(fault);
      Object.assign(entry, { resolve, reject });
      this.#bytes += entry.bytes;
      this.#waiting.push(entry);
      this.#watch(entry);
      this.#flush();
    });
  }

  /** A connection is there. `send(data)` says whether it took it. */
  attach(send) {
    this.#send = send;
    this.#flush();
  }

  /** The connection is gone. What was on the wire may or may not have arrived. */
  detach() {
    this.#send = this.#ping = null;
    for (const entry of this.#flying.splice(0))
      this.#fail(entry, "UNCONFIRMED", "the connection broke before the bridge had answered: the message may or may not " +
        "have reached the runtime; send it again only if the runtime knows repeats by message_id");
  }

  /** The ping of this id was answered, with pong or with an error. False when it is none of ours. */
  confirm(id) {
    if (this.#ping === null || id !== this.#ping.id) return false;
    const { written } = this.#ping;
    this.#ping = null;
    while (this.#flying.length && this.#flying[0].written <= written) this.#succeed(this.#flying.shift(), true);
    this.#ask();
    return true;
  }

  /** The bridge refused a message. False when it is none of ours. */
  refuse(id, code, message) {
    const at = this.#flying.findIndex((entry) => entry.id !== null && entry.id === id);
    if (at >= 0) this.#fail(this.#flying.splice(at, 1)[0], code, `not handed over: ${message}`);
    return at >= 0;
  }

  /** The bridge refused a frame without naming it: a binary one. False when none can be meant. */
  refuseUnnamed(code, message) {
    const binary = this.#flying.filter((entry) => entry.id === null);
    this.#flying = this.#flying.filter((entry) => entry.id !== null);
    for (const entry of binary)
      if (binary.length === 1) this.#fail(entry, code, `not handed over: ${message}`);
      else this.#fail(entry, "UNCONFIRMED", `one of ${binary.length} binary frames was not handed over (${code})`);
    return binary.length > 0;
  }

  /** Nothing will be sent any more. */
  close(code, message) {
    this.detach();
    for (const entry of this.#waiting.splice(0)) this.#fail(entry, code, message);
  }

  #refusal({ bytes, signal }) {
    if (signal?.aborted) return withdrawn();
    if (this.size < this.maxMessages && this.#bytes + bytes <= this.maxBytes) return null;
    return new AgentSocketError("OVERFLOW", `${this.size} messages with ${this.#bytes} bytes are waiting (limits ` +
      `${this.maxMessages} and ${this.maxBytes}): wait for the promises of earlier ones, or raise maxSends, maxSendBytes`);
  }

  #watch(entry) {
    if (!entry.signal) return;
    entry.withdraw = () => {
      const at = this.#waiting.indexOf(entry);
      if (at < 0) return; // on the wire: too late
      this.#waiting.splice(at, 1);
      this.#settled(entry);
      entry.reject(withdrawn());
    };
    entry.signal.addEventListener("abort", entry.withdraw);
  }

  #flush() {
    while (this.#send && this.#waiting.length && this.#send(this.#waiting[0].data)) {
      const entry = this.#waiting.shift();
      entry.written = ++this.#written;
      if (this.confirmed) this.#flying.push(entry);
      else this.#succeed(entry, false);
    }
    this.#ask();
  }

  #ask() {
    if (!this.#send || this.#ping || !this.#flying.length) return;
    const id = `${this.prefix}-p${++this.#pings}`;
    if (this.#send(JSON.stringify({ type: "ping", id, message_id: id }))) this.#ping = { id, written: this.#written };
  }

  #settled(entry) {
    this.#bytes -= entry.bytes;
    entry.signal?.removeEventListener("abort", entry.withdraw);
  }

  #succeed(entry, confirmed) {
    this.#settled(entry);
    entry.resolve({ id: entry.id, confirmed });
  }

  #fail(entry, code, message) {
    this.#settled(entry);
    entry.reject(new AgentSocketError(code, message, { message_id: entry.id }));
  }
}

function withdrawn() {
  return new AgentSocketError("WITHDRAWN", "withdrawn by its signal before it was sent");
}
