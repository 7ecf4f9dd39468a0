/** What comes down: each event once and in order, the cursor, the runs, and the word when something is missing. */
import { Emitter } from "./emitter.js";
import { Runs } from "./runs.js";

export class Feed {
  #cursor;
  #emitter;
  #byType = new Emitter();

  constructor(emitter, cursor, limits) {
    this.#emitter = emitter;
    this.#cursor = cursor;
    this.runs = new Runs(limits, (run) => emitter.emit("run", run));
    this.stats = { events: 0, repeats: 0, resyncs: 0 };
  }

  /** A copy, or null before the first connection. */
  get cursor() {
    return this.#cursor && { ...this.#cursor };
  }

  onType(type, listener) {
    return this.#byType.on(type, listener);
  }

  /** `size`: of its frame. Events without an offset are for this connection alone and come only once. */
  event(event, size) {
    if (typeof event._offset === "number" && !this.#moveTo(event._offset)) {
      this.stats.repeats++;
      return;
    }
    this.stats.events++;
    this.runs.take(event, size);
    this.#emitter.emit("event", event);
    this.#byType.emit(event.type, event);
  }

  /** A new count of offsets; `reason` null: nothing is missing. */
  restart(resume, reason) {
    const before = this.cursor;
    this.#cursor = { epoch: resume.epoch, offset: resume.offset };
    if (reason === null) return;
    this.stats.resyncs++;
    const runs = this.runs.gap(reason);
    this.#emitter.emit("resync", { reason, before, cursor: this.cursor, runs });
  }

  snapshot(list) {
    this.runs.snapshot(list);
    this.#emitter.emit("snapshot", list);
  }

  #moveTo(offset) {
    if (!this.#cursor || offset <= this.#cursor.offset) return false;
    this.#cursor.offset = offset;
    return true;
  }
}
