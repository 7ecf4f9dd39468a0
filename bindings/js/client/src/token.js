/* Where tokens come from, and when a live connection needs the next one. */
import { AgentSocketError } from "./errors.js";

const LONGEST_TIMER_MS = 30_000; // timers stand still while a laptop sleeps; the clock on the wall does not
const RETRY_MS = 5_000;

/** {exp, iat} of a JWT in seconds, nothing checked; {} when it cannot be read. */
export function claimsOf(token) {
  try {
    const text = token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
    const { exp, iat } = JSON.parse(atob(text));
    return { exp: Number.isFinite(exp) ? exp : undefined, iat: Number.isFinite(iat) ? iat : undefined };
  } catch {
    return {};
  }
}

/** How long until a token got `now` should be replaced: at four fifths of what is left, at least a minute's notice when there is so much. */
export function refreshAfterMs(token, now) {
  const { exp, iat } = claimsOf(token);
  if (exp === undefined) return null;
  let left = exp * 1000 - now;
  if (left <= 0 && iat !== undefined) left = (exp - iat) * 1000; // this clock is ahead: the token is as good as new
  return left <= 0 ? RETRY_MS : Math.max(left * 0.8, left - 60_000);
}

/** Asks the application for tokens, and sends a new one before the old one expires. */
export class TokenKeeper {
  #source;
  #timer = null;
  #due = null;
  #send = null;
  #asked = null; // {id, token} on its way to the bridge
  #turn = 0;
  #numbers = 0;
  #current = null; // what the bridge has

  /** `source`: the application's function, or a fixed token. `failed(error)` is told what did not work out. */
  constructor({ source, clock, timeoutMs, prefix, failed }) {
    Object.assign(this, { clock, timeoutMs, prefix, failed });
    this.#source = source ?? null;
  }

  /** A fixed token cannot be replaced. */
  get fixed() {
    return typeof this.#source !== "function";
  }

  /** A token for a new connection, null for none; rejects when the application has none in time. */
  async forConnection(expired) {
    const turn = ++this.#turn;
    const token = this.fixed ? this.#source : await this.#ask(expired ? "expired" : "connect");
    if (turn === this.#turn) this.#current = token;
    return token;
  }

  /** The connection is up with the current token. `send(data)` says whether it took it. */
  attach(send) {
    this.#send = send;
    this.#plan(this.#afterMs());
  }

  detach() {
    this.#turn++;
    this.clock.clearTimeout(this.#timer);
    this.#timer = this.#due = this.#send = this.#asked = null;
  }

  /** Look at the clock again: the page woke up. */
  wake() {
    if (this.#due !== null && this.#asked === null) this.#arm();
  }

  /** token_refreshed came. */
  accepted() {
    if (this.#asked === null) return;
    this.#current = this.#asked.token;
    this.#asked = null;
    this.#plan(this.#afterMs());
  }

  /** An error came; false when it is not about a token of ours. */
  refused(id, code, message) {
    if (this.#asked === null || this.#asked.id !== id) return false;
    this.#asked = null;
    this.failed(new AgentSocketError(code, `the new token was not taken: ${message}; trying again with another one`));
    this.#plan(RETRY_MS);
    return true;
  }

  #afterMs() {
    return this.fixed || !this.#current ? null : refreshAfterMs(this.#current, this.clock.now());
  }

  #plan(ms) {
    this.#due = ms === null ? null : this.clock.now() + ms;
    if (ms !== null) this.#arm();
  }

  #arm() {
    this.clock.clearTimeout(this.#timer);
    const left = this.#due - this.clock.now();
    if (left <= 0) this.#refresh();
    else this.#timer = this.clock.setTimeout(() => this.#arm(), Math.min(left, LONGEST_TIMER_MS));
  }

  async #ask(reason) {
    let timer;
    const late = new Promise((_, reject) => {
      timer = this.clock.setTimeout(() => reject(noToken(`token() has not answered within ${this.timeoutMs} ms`)), this.timeoutMs);
    });
    try {
      return checked(await Promise.race([this.#source({ reason }), late]));
    } catch (fault) {
      throw fault instanceof AgentSocketError ? fault : noToken("token() failed: details.cause says why", { cause: fault });
    } finally {
      this.clock.clearTimeout(timer);
    }
  }

  async #refresh() {
    const turn = ++this.#turn;
    this.#due = null;
    try {
      const token = await this.#ask("refresh");
      if (turn === this.#turn) this.#offer(token);
    } catch (fault) {
      if (turn !== this.#turn) return;
      this.failed(fault);
      this.#plan(RETRY_MS);
    }
  }

  #offer(token) {
    if (!token || token === this.#current) {
      this.failed(new AgentSocketError("SAME_TOKEN", "token({reason: \"refresh\"}) gave no new token: get one that expires later"));
      this.#plan(RETRY_MS);
      return;
    }
    const id = `${this.prefix}-t${++this.#numbers}`;
    this.#asked = { id, token };
    this.#send(JSON.stringify({ type: "refresh_token", token, message_id: id }));
  }
}

function checked(token) {
  if (token === null || token === undefined || typeof token === "string") return token ?? null;
  throw noToken("token() must give a string, or null for none");
}

function noToken(message, details) {
  return new AgentSocketError("NO_TOKEN", message, details);
}
