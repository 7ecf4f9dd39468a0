// Handlers at work: so many at once, so many that wait, in the order in which they came.
export class Tasks {
  #running = 0;
  #waiting = [];
  #room = null; // {promise, resolve} while there is none

  constructor(atOnce, waiting) {
    this.atOnce = atOnce;
    this.maxWaiting = waiting;
  }

  get running() {
    return this.#running;
  }

  get waiting() {
    return this.#waiting.length;
  }

  /** Starts `task` (async, never throws) now or later. Resolves when there is room for another. */
  push(task) {
    if (this.#running < this.atOnce) this.#start(task);
    else this.#waiting.push(task);
    if (this.#waiting.length < this.maxWaiting) return Promise.resolve();
    this.#room ??= Promise.withResolvers?.() ?? withResolvers();
    return this.#room.promise;
  }

  /** Those that wait start now, whatever the limit: at the end, when they have little to do. */
  releaseAll() {
    this.atOnce = Infinity;
    for (const task of this.#waiting.splice(0)) this.#start(task);
  }

  async #start(task) {
    this.#running++;
    await task();
    this.#running--;
    if (this.#waiting.length > 0) this.#start(this.#waiting.shift());
    if (this.#room && this.#waiting.length < this.maxWaiting) {
      this.#room.resolve();
      this.#room = null;
    }
  }
}

function withResolvers() {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
}
