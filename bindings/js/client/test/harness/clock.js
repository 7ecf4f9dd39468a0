/** A clock that a test moves: no timer fires but by advance(). */
export class ManualClock {
  time = 1_700_000_000_000;
  timers = new Map(); // number: {at, callback}
  #numbers = 0;
  random = () => 0.5;

  now = () => this.time;

  setTimeout = (callback, ms) => {
    this.timers.set(++this.#numbers, { at: this.time + ms, callback });
    return this.#numbers;
  };

  clearTimeout = (timer) => this.timers.delete(timer);

  /** Fires what is due on the way, in order. */
  async advance(ms) {
    const end = this.time + ms;
    for (;;) {
      const due = [...this.timers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at)[0];
      if (!due) break;
      this.timers.delete(due[0]);
      this.time = Math.max(this.time, due[1].at);
      due[1].callback();
      await settle();
    }
    this.time = end;
  }
}

/** Until promises that are ready have told their readers. */
export async function settle() {
  for (let i = 0; i < 10; i++) await Promise.resolve();
}

/** A clock that goes a hundred times as fast, and that a test can put `ahead` as that of a laptop that slept. */
export function hurriedClock() {
  const start = Date.now();
  const clock = { ahead: 0, now: () => start + (Date.now() - start) * 100 + clock.ahead };
  return Object.assign(clock, { setTimeout: (callback, ms) => setTimeout(callback, ms / 100) });
}

/** No time limits that a hurried clock would make too short. */
export const patient = { heartbeatMs: 0, connectTimeoutMs: 86_400_000, tokenTimeoutMs: 86_400_000 };
