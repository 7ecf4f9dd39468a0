/** Exponential back-off with full jitter: the first try may come at once, later ones anywhere up to a doubling limit. */
export class Backoff {
  #tries = 0;

  constructor({ minMs, maxMs, random }) {
    Object.assign(this, { minMs, maxMs, random });
  }

  get tries() {
    return this.#tries;
  }

  reset() {
    this.#tries = 0;
  }

  /** Milliseconds before the next try; `pause`: not at once, even for the first. */
  next(pause = false) {
    const doublings = Math.max(0, this.#tries - 1);
    const limit = Math.min(this.maxMs, this.minMs * 2 ** Math.min(doublings, 30));
    const first = this.#tries++ === 0 && !pause;
    return first ? 0 : Math.round(limit * this.random());
  }
}
