/* The connection to the bridge, again and again.
 *
 *   connect ─▶ #attempt ─▶ token ─▶ #open: Link ─▶ #onText ─┬─▶ NOTICES, connection_established first: #established, "online"
 *                 ▲                                         └─▶ events: feed.js
 *              #retry ◀── #onEnd ◀── close
 *                            └─▶ #stop: "closed" or "failed"
 */
import { Backoff } from "./backoff.js";
import { settle } from "./defaults.js";
import { Emitter, report } from "./emitter.js";
import { AgentSocketError } from "./errors.js";
import { Feed } from "./feed.js";
import { Link } from "./link.js";
import { Liveness } from "./liveness.js";
import { Outbox } from "./outbox.js";
import { hasNetwork, watchPage } from "./page.js";
import { TokenKeeper } from "./token.js";
import * as wire from "./wire.js";

const LOST_LINE = 4000; // our own close code, for a peer that no longer answers
const LONGEST_DRAIN_MS = 300_000;
const QUIET = { nextAttemptAt: null, code: null, reason: null, draining: false };

/** index.d.ts documents what is public. */
export class AgentSocket {
  #url;
  #options;
  #clock;
  #emitter = new Emitter();
  #feed;
  #backoff;
  #token;
  #liveness;
  #outbox;
  #connection = null; // {id, userId, bridge} while online
  #link = null;
  #timer = null; // the next try, or the patience with the present one
  #stable = null;
  #turn = 0; // of tries: what was asked for in an earlier one is not heard
  #asking = false; // for a token
  #fresh = true; // not online yet since connect()
  #said = {}; // of the present connection, see wire.afterClose
  #drainMs = null;
  #status = { ...QUIET, state: "closed", since: 0, attempt: 0 };
  #unwatch = null;
  #connections = 0;
  #unread = 0;
  #ids = `c${Math.random().toString(36).slice(2, 10)}${Date.now().toString(36)}`;
  #messages = 0;

  constructor(url, options) {
    const settings = (this.#options = settle(options));
    this.#url = wire.absoluteUrl(url);
    wire.checkSubprotocol(settings.subprotocol);
    if (typeof settings.token === "string") wire.offered(settings.token, settings.subprotocol);
    this.#clock = settings.clock;
    this.#makeParts(settings);
    if (settings.autoConnect) this.connect();
  }

  #makeParts(settings) {
    const clock = this.#clock;
    this.#feed = new Feed(this.#emitter, wire.checkCursor(settings.cursor), { events: settings.runBufferEvents,
      bytes: settings.runBufferBytes, ended: settings.maxEndedRuns, open: settings.maxOpenRuns });
    this.#backoff = new Backoff({ minMs: settings.minDelayMs, maxMs: settings.maxDelayMs, random: clock.random });
    this.#token = new TokenKeeper({ source: settings.token, clock, timeoutMs: settings.tokenTimeoutMs, prefix: this.#ids,
      failed: (fault) => this.#fault(fault) });
    this.#outbox = new Outbox({ maxMessages: settings.maxSends, maxBytes: settings.maxSendBytes, confirm: settings.confirm,
      prefix: this.#ids });
    this.#liveness = new Liveness({ clock, timeoutMs: settings.pongTimeoutMs, ping: () => this.#write("{\"type\":\"ping\"}"),
      dead: () => this.#dropLine("no answer to a ping") });
  }

  // what there is to see

  get state() {
    return this.#status.state;
  }

  get status() {
    return { ...this.#status };
  }

  get connection() {
    return this.#connection;
  }

  get cursor() {
    return this.#feed.cursor;
  }

  get runs() {
    return this.#feed.runs;
  }

  get stats() {
    return { ...this.#feed.stats, connections: this.#connections, unreadFrames: this.#unread, unsettledSends: this.#outbox.size,
      unsettledBytes: this.#outbox.bytes };
  }

  on(name, listener) {
    return this.#emitter.on(name, listener);
  }

  once(name, listener) {
    return this.#emitter.once(name, listener);
  }

  off(name, listener) {
    this.#emitter.off(name, listener);
  }

  onEvent(type, listener) {
    return this.#feed.onType(type, listener);
  }

  // beginning and end

  connect() {
    if (this.#link || this.#asking) return;
    if (!this.#unwatch) this.#begin();
    this.#attempt();
  }

  close(reason = "closed by the application") {
    if (!this.#unwatch) return;
    const link = this.#link;
    this.#leave();
    link?.drop(1000, "");
    this.#stop("closed", 1000, reason);
  }

  #begin() {
    this.#unwatch = watchPage(this.#options.page, {
      online: () => (this.#waiting() ? this.#attempt() : this.#liveness.probe()),
      offline: () => (this.#waiting() ? this.#show(this.#away(), {}) : this.#liveness.probe()),
      wake: () => this.#wake(),
    });
    this.#backoff.reset();
    this.#fresh = true;
    this.#status = { ...this.#status, ...QUIET, attempt: 0 };
  }

  #stop(state, code, reason) {
    this.#unwatch();
    this.#unwatch = null;
    const why = `the socket is ${state} (${reason})`;
    this.#outbox.close("CLOSED", `${why}: the message was not sent`);
    this.runs.close(why);
    this.#show(state, { ...QUIET, code, reason });
  }

  #wake() {
    if (this.#waiting() && this.#status.nextAttemptAt <= this.#clock.now()) this.#attempt();
    this.#liveness.probe();
    this.#token.wake();
  }

  // sending

  async send(message, { signal, buffer = true } = {}) {
    const fault = wire.messageFault(message);
    if (fault) throw new AgentSocketError("BAD_MESSAGE", fault);
    const id = message.message_id ?? `${this.#ids}-m${++this.#messages}`;
    const data = JSON.stringify({ ...message, message_id: id });
    return this.#post({ id, data, bytes: wire.byteLength(data), signal }, buffer);
  }

  async sendBinary(bytes, { signal, buffer = true } = {}) {
    const data = wire.bytesOf(bytes);
    if (!data) throw new AgentSocketError("BAD_MESSAGE", "sendBinary() takes an ArrayBuffer or a view of one");
    return this.#post({ id: null, data, bytes: data.byteLength, signal }, buffer);
  }

  #post(entry, buffer) {
    const { maxMessageBytes, maxSendBytes } = this.#options;
    if (entry.bytes > maxMessageBytes)
      throw new AgentSocketError("TOO_BIG", `the message has ${entry.bytes} bytes; ${maxMessageBytes} are allowed (maxMessageBytes, ` +
        "and the bridge's max-message-bytes)");
    if (!this.#unwatch)
      throw new AgentSocketError("CLOSED", `the socket is ${this.state} (${this.#status.reason}): connect() begins anew`);
    if (!buffer && !this.#connection) throw new AgentSocketError("OFFLINE", `not online but ${this.state}`);
    if (this.#link?.bufferedAmount > maxSendBytes)
      throw new AgentSocketError("OVERFLOW", `more than ${maxSendBytes} bytes are on their way to the network (maxSendBytes)`);
    return this.#outbox.add(entry);
  }

  #write = (data) => this.#link?.send(data) ?? false;

  // trying

  #waiting() {
    return this.#status.nextAttemptAt !== null;
  }

  #away() {
    return hasNetwork(this.#options.page) ? this.#coming() : "offline";
  }

  #coming() {
    return this.#fresh ? "connecting" : "reconnecting";
  }

  async #attempt() {
    const turn = ++this.#turn;
    this.#clock.clearTimeout(this.#timer);
    this.#asking = true;
    this.#show(this.#coming(), { attempt: this.#status.attempt + 1, nextAttemptAt: null });
    let protocols, fault;
    try {
      protocols = wire.offered(await this.#token.forConnection(this.#said.newToken), this.#options.subprotocol);
    } catch (caught) {
      fault = caught;
    }
    if (turn !== this.#turn) return;
    this.#asking = false;
    if (protocols) this.#open(protocols);
    else this.#noToken(fault);
  }

  #noToken(fault) {
    this.#fault(fault);
    if (this.#unwatch) this.#retry(this.#backoff.next(true), null, fault.code);
  }

  #open(protocols) {
    this.#said = {};
    const heard = (handler) => (data) => {
      this.#liveness.heard();
      handler(data);
    };
    try {
      this.#link = new Link(this.#options.WebSocket, wire.urlWithCursor(this.#url, this.cursor), protocols, {
        onText: heard((text) => this.#onText(text)),
        onBinary: heard((bytes) => this.#frame(bytes)),
        onEnd: (end) => this.#onEnd(end),
      });
    } catch (fault) { // the browser does not even try: a page under https and ws://, say
      return this.#stop("failed", null, fault.message);
    }
    const limit = this.#options.connectTimeoutMs;
    this.#timer = this.#clock.setTimeout(() => this.#dropLine(`no connection_established within ${limit} ms`), limit);
  }

  #dropLine(reason) {
    this.#link.drop(LOST_LINE, reason);
    this.#onEnd({ code: 1006, reason });
  }

  #onEnd({ code, reason }) {
    const next = wire.afterClose(code, reason, this.#said);
    const drainMs = this.#drainMs;
    this.#leave();
    this.#said = { newToken: next.newToken };
    if (!this.#comesBack(next, code, reason)) return this.#stop(code === 1000 ? "closed" : "failed", code, next.why);
    const ms = this.#backoff.next(next.again !== "now");
    this.#retry(drainMs ?? ms, code, next.why);
  }

  #comesBack(next, code, reason) {
    if (next.newToken && this.#token.fixed) return false;
    const again = next.again !== false;
    return this.#options.comeBack?.({ code, reason, why: next.why, again }) ?? again;
  }

  #retry(ms, code, reason) {
    this.#clock.clearTimeout(this.#timer);
    this.#timer = this.#clock.setTimeout(() => this.#attempt(), ms);
    this.#show(this.#away(), { ...QUIET, nextAttemptAt: this.#clock.now() + ms, code, reason });
  }

  /** What belongs to one connection ends with it. */
  #leave() {
    this.#turn++;
    this.#asking = false;
    this.#link = this.#connection = this.#drainMs = null;
    this.#clock.clearTimeout(this.#timer);
    this.#clock.clearTimeout(this.#stable);
    this.#liveness.stop();
    this.#token.detach();
    this.#outbox.detach();
  }

  #show(state, changes) {
    const before = this.#status;
    this.#status = { ...before, ...changes, state, since: state === before.state ? before.since : this.#clock.now() };
    this.#emitter.emit("state", this.status, before.state);
  }

  // what comes

  #onText(text) {
    const frame = wire.readFrame(text, this.#options.parse);
    const notice = frame && typeof frame._offset !== "number" && AgentSocket.#NOTICES.get(frame.type);
    if (!frame) this.#frame(text);
    else if (notice) notice(this, frame);
    else this.#feed.event(frame, text.length);
  }

  /** What the runtime sent as it is, and is no event. */
  #frame(data) {
    if (!this.#emitter.emit("frame", data) && this.#unread++ === 0)
      this.#fault(new AgentSocketError("UNREAD_FRAME", "a frame came that is no event, and nobody listens for \"frame\"; " +
        "further ones are only counted (stats.unreadFrames)"));
  }

  /** The bridge's own frames. They have no `_offset`; an event of the runtime's of the same name has. */
  static #NOTICES = new Map(Object.entries({
    connection_established: (self, { data }) => self.#established(data),
    runs_snapshot: (self, { data }) => self.#feed.snapshot(data.runs),
    resync: (self, { data }) => self.#feed.restart(data.resume, data.reason),
    error_message: (self, frame) => self.#refused(frame),
    pong: (self, { id }) => self.#outbox.confirm(id),
    heartbeat_ack: () => {},
    token_refreshed: (self) => self.#token.accepted(),
    token_expired: (self) => Object.assign(self.#said, { tokenExpired: true }),
    bridge_draining: (self, { data }) => self.#draining(data.reconnect_after_ms),
    authentication_error: (self, frame) => self.#turnedAway(frame),
    connection_error: (self, frame) => self.#turnedAway(frame),
  }));

  #established(data) {
    const cameBack = this.cursor !== null;
    this.#clock.clearTimeout(this.#timer);
    this.#stable = this.#clock.setTimeout(() => this.#backoff.reset(), this.#options.stableMs);
    this.#connection = Object.freeze({ id: data.connection_id, userId: data.user_id, bridge: data.bridge });
    this.#connections++;
    this.#fresh = false;
    this.#liveness.start(this.#options.heartbeatMs ?? data.heartbeat_interval_ms);
    this.#token.attach(this.#write);
    this.#outbox.attach(this.#write);
    this.#show("online", { ...QUIET, attempt: 0 });
    if (!data.recovered) this.#feed.restart(data.resume, cameBack ? data.recovery_error : null);
  }

  #refused({ error_code: code, error_message: message, details }) {
    const id = details?.message_id;
    const ours = id === undefined ? this.#outbox.refuseUnnamed(code, message)
      : this.#outbox.confirm(id) || this.#token.refused(id, code, message) || this.#outbox.refuse(id, code, message);
    if (!ours) this.#fault(new AgentSocketError(code, message, details));
  }

  #turnedAway({ retry_allowed: retryAllowed, error_code: errorCode }) {
    Object.assign(this.#said, { retryAllowed: retryAllowed === true, errorCode });
  }

  #draining(ms) {
    this.#drainMs = Math.min(Math.max(0, ms), LONGEST_DRAIN_MS);
    this.#show(this.state, { draining: true });
  }

  #fault(fault) {
    if (!this.#emitter.emit("error", fault)) report(fault);
  }
}
