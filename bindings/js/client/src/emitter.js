/** A small emitter. A listener that throws is reported and harms nobody else. */
export class Emitter {
  #listeners = new Map();

  /** Returns a function that takes the listener off again. */
  on(name, listener) {
    if (typeof listener !== "function") throw new TypeError(`on("${name}", listener): the listener is not a function`);
    const entry = { listener };
    this.#listeners.set(name, [...(this.#listeners.get(name) ?? []), entry]);
    return () => this.#remove(name, (other) => other === entry);
  }

  once(name, listener) {
    const off = this.on(name, (...values) => {
      off();
      listener(...values);
    });
    return off;
  }

  off(name, listener) {
    this.#remove(name, (entry) => entry.listener === listener);
  }

  /** Whether anybody listened. */
  emit(name, ...values) {
    const entries = this.#listeners.get(name) ?? []; // never changed in place
    for (const { listener } of entries) {
      try {
        listener(...values);
      } catch (fault) {
        report(fault);
      }
    }
    return entries.length > 0;
  }

  #remove(name, which) {
    const left = (this.#listeners.get(name) ?? []).filter((entry) => !which(entry));
    if (left.length) this.#listeners.set(name, left);
    else this.#listeners.delete(name);
  }
}

/** Where faults go that nobody listens for: window.onerror in browsers, the console elsewhere. */
export function report(fault) {
  if (typeof globalThis.reportError === "function") globalThis.reportError(fault);
  else console.error(fault);
}
