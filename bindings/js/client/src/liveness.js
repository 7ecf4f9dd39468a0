/** Notices a dead line. Scripts in browsers cannot see WebSocket pings, so when nothing came for a while it sends one of its own. */
export class Liveness {
  #timer = null;
  #heard = 0;
  #asked = null; // when the ping went out

  /** `ping()` sends one; `dead()` is told that nothing came back within timeoutMs. */
  constructor({ clock, timeoutMs, ping, dead }) {
    Object.assign(this, { clock, timeoutMs, ping, dead });
  }

  /** intervalMs 0: never. */
  start(intervalMs) {
    this.stop();
    this.intervalMs = intervalMs;
    this.#heard = this.clock.now();
    if (intervalMs > 0) this.#arm(intervalMs);
  }

  stop() {
    this.clock.clearTimeout(this.#timer);
    this.#timer = this.#asked = null;
  }

  /** Anything has come. */
  heard() {
    this.#heard = this.clock.now();
    if (this.#asked === null) return; // the timer finds out by itself
    this.#asked = null;
    this.clock.clearTimeout(this.#timer);
    this.#arm(this.intervalMs);
  }

  /** Ask now: the page woke up, or the network changed. */
  probe() {
    if (!this.intervalMs || this.#timer === null || this.#asked !== null) return;
    this.clock.clearTimeout(this.#timer);
    this.#ask();
  }

  #arm(ms) {
    this.#timer = this.clock.setTimeout(() => this.#look(), ms);
  }

  #ask() {
    this.#asked = this.clock.now();
    this.ping();
    this.#arm(this.timeoutMs);
  }

  #look() {
    const silent = this.clock.now() - (this.#asked ?? this.#heard);
    const limit = this.#asked === null ? this.intervalMs : this.timeoutMs;
    if (silent < limit) this.#arm(limit - silent);
    else if (this.#asked === null) this.#ask();
    else {
      this.stop();
      this.dead();
    }
  }
}
