/* Runs of agents, put together from their events. */
import { Emitter } from "./emitter.js";
import { AgentSocketError } from "./errors.js";

const ENDS = { agent_completed: "completed", agent_error: "failed" };

/** Whether an event is the last one of its run. */
export function endsRun(event) {
  return Object.hasOwn(ENDS, event.type);
}

/** One run. Its last events are kept (bounded), so that whoever begins to iterate later still gets them. */
export class Run {
  #limits;
  #kept = []; // {event, size}
  #bytes = 0;
  #first = 0; // number of kept[0], counted over the whole run
  #gaps = []; // numbers of events before which some may be missing
  #gapCount = 0;
  #over = null; // the fault that ended the watching before the run's end
  #emitter = new Emitter();
  #done = null;

  constructor(id, limits, known = {}) {
    this.#limits = limits;
    this.id = id;
    this.threadId = known.thread_id ?? null;
    this.agentName = known.agent_name ?? null;
    this.startedAt = known.started_at ?? null;
    this.task = null;
    this.lastType = known.last_type ?? null;
    this.joined = known.joined ?? false;
    this.status = "running";
    this.end = null;
    this.openTools = new Map((known.open_tools ?? []).map((tool) => [tool.execution_id, tool]));
  }

  get ended() {
    return this.end !== null;
  }

  /** Events that have left the buffer. */
  get dropped() {
    return this.#first;
  }

  /** How often events of this run may have been lost. */
  get gaps() {
    return this.#gapCount;
  }

  /** The events that are kept, oldest first. */
  get events() {
    return this.#kept.map(({ event }) => event);
  }

  /** "event" (each), "end" (the last), "gap" (events may be missing here). Returns the function that ends it. */
  on(name, listener) {
    return this.#emitter.on(name, listener);
  }

  /** Resolves with the run's last event; rejects when that can no longer come. */
  get done() {
    this.#done ??= new Promise((resolve, reject) => {
      if (this.end) resolve(this.end);
      else if (this.#over) reject(this.#over);
      else {
        this.#emitter.on("end", resolve);
        this.#emitter.on("over", reject);
      }
    });
    return this.#done;
  }

  [Symbol.asyncIterator]() {
    return this.iterate();
  }

  /**
   * The run's events from the oldest that is kept to the end. `onGap`: "throw" (default) ends with EVENTS_LOST where events may be
   * missing, "continue" goes on.
   */
  async *iterate({ onGap = "throw" } = {}) {
    for (let next = this.#first; ;) {
      if (next < this.#first) next = this.#behind(next, onGap);
      if (onGap === "throw" && this.#gaps.includes(next)) throw lost(`events of run ${this.id} may be missing`);
      if (next < this.#first + this.#kept.length) {
        const { event } = this.#kept[next++ - this.#first];
        yield event;
        if (event === this.end) return;
      } else if (this.#over) throw this.#over;
      else await this.#change();
    }
  }

  /** @internal */
  push(event, size) {
    this.#note(event);
    this.#kept.push({ event, size });
    this.#bytes += size;
    while (this.#kept.length > 1 && (this.#kept.length > this.#limits.events || this.#bytes > this.#limits.bytes)) {
      this.#bytes -= this.#kept.shift().size;
      this.#first++;
    }
    if (this.#gaps.length) this.#gaps = this.#gaps.filter((at) => at >= this.#first);
    this.#emitter.emit("event", event);
    if (this.end) this.#emitter.emit("end", event);
  }

  /** @internal What the bridge says of a run in progress. */
  confirm(known) {
    this.status = "running";
    this.lastType = known.last_type ?? this.lastType;
    this.openTools = new Map((known.open_tools ?? []).map((tool) => [tool.execution_id, tool]));
  }

  /** @internal Events may be missing from here on. */
  gap(reason) {
    const at = this.#first + this.#kept.length;
    if (this.#gaps.at(-1) !== at) this.#gaps.push(at);
    this.#gapCount++;
    this.status = "unknown";
    this.#emitter.emit("gap", reason);
  }

  /** @internal Nobody watches it any more. */
  abandon(code, message) {
    if (this.end || this.#over) return;
    this.status = "unknown";
    this.#over = new AgentSocketError(code, message);
    this.#emitter.emit("over", this.#over);
  }

  #note(event) {
    this.lastType = event.type;
    this.threadId = event.thread_id ?? this.threadId;
    this.agentName = event.agent_name ?? this.agentName;
    this.status = ENDS[event.type] ?? "running";
    if (event.type === "agent_started") {
      this.startedAt = event.timestamp ?? null;
      this.task = event.task_description ?? null;
    } else if (event.type === "tool_executing") this.openTools.set(event.execution_id, event);
    else if (event.type === "tool_completed") this.openTools.delete(event.execution_id);
    else if (endsRun(event)) this.end = event;
  }

  #behind(next, onGap) {
    if (onGap === "continue") return this.#first;
    throw lost(`${this.#first - next} events of run ${this.id} left the buffer before they were read: read faster, or raise ` +
      "runBufferEvents, runBufferBytes");
  }

  #change() {
    return new Promise((resolve) => {
      const offs = ["event", "gap", "over"].map((name) => this.#emitter.on(name, () => {
        for (const off of offs) off();
        resolve();
      }));
    });
  }
}

function lost(message) {
  return new AgentSocketError("EVENTS_LOST", message);
}

/** All runs that are known: those in progress, and the last that have ended. */
export class Runs {
  #runs = new Map(); // the one that was silent for the longest time first
  #limits;
  #begun;

  /** `begun(run)` is called before its first event. */
  constructor(limits, begun) {
    this.#limits = limits;
    this.#begun = begun;
  }

  get size() {
    return this.#runs.size;
  }

  /** The run, or undefined. */
  get(id) {
    return this.#runs.get(id);
  }

  [Symbol.iterator]() {
    return [...this.#runs.values()][Symbol.iterator]();
  }

  /** Those that have not ended. */
  get open() {
    return [...this].filter((run) => !run.ended);
  }

  /** @internal */
  take(event, size) {
    if (typeof event.run_id !== "string") return;
    const known = this.#runs.get(event.run_id);
    if (known?.ended && event.type !== "agent_started") return; // after its end; everybody has got it as an event
    const run = known && !known.ended ? known : this.#begin(event.run_id, { joined: event.type !== "agent_started" });
    this.#runs.delete(run.id);
    this.#runs.set(run.id, run);
    run.push(event, size);
    if (run !== known || run.ended) this.#forget();
  }

  /** @internal A snapshot of the bridge. */
  snapshot(list) {
    for (const known of list) {
      const run = this.#runs.get(known.run_id);
      if (run && !run.ended) run.confirm(known);
      else if (!run) this.#begin(known.run_id, { ...known, joined: true });
    }
    this.#forget();
  }

  /** @internal Events may be missing. Returns the runs that this concerns. */
  gap(reason) {
    const { open } = this;
    for (const run of open) run.gap(reason);
    return open;
  }

  /** @internal The socket is closed. */
  close(message) {
    for (const run of this.open) {
      this.#runs.delete(run.id);
      run.abandon("CLOSED", message);
    }
  }

  #begin(id, known) {
    const run = new Run(id, this.#limits, known);
    this.#runs.set(id, run);
    this.#begun(run);
    return run;
  }

  #forget() {
    const ended = [...this.#runs.values()].filter((run) => run.ended);
    for (const run of ended.slice(0, Math.max(0, ended.length - this.#limits.ended))) this.#runs.delete(run.id);
    const { open } = this;
    for (const run of open.slice(0, Math.max(0, open.length - this.#limits.open))) {
      this.#runs.delete(run.id);
      run.abandon("FORGOTTEN", `run ${run.id} is no longer followed: more than ${this.#limits.open} runs are in progress`);
    }
  }
}
