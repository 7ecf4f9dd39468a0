import { AgentError, fault } from "./errors.js";
import { newId } from "./fields.js";

export const asyncDispose = Symbol.asyncDispose ?? Symbol.for("nodejs.asyncDispose");

/** One use of a tool: `tool_executing` is out, `tool_completed` follows exactly once. */
export class ToolCall {
  #port; // {signal, finish (call, results, success), act (work)}
  #ended = false;
  #since = performance.now();

  /** @internal */
  constructor(port, name, args) {
    this.#port = port;
    this.name = name;
    this.args = args;
    this.executionId = newId("exec");
  }

  get ended() {
    return this.#ended;
  }

  get signal() {
    return this.#port.signal;
  }

  complete(results = null) {
    return this.#once(results, true);
  }

  fail(error) {
    return this.#once(forClient(error), false);
  }

  /** @internal The run ends over it. */
  abandon() {
    if (!this.#ended) this.#end({ error: "The run ended before the tool did." }, false);
  }

  async [asyncDispose]() {
    if (!this.#ended) await this.fail(null);
  }

  #once(results, success) {
    return this.#port.act(() => {
      if (this.signal.aborted) throw this.signal.reason;
      if (this.#ended) throw fault("TOOL_ENDED", `${this.name} (${this.executionId}) has its tool_completed already`);
      this.#end(results, success);
    });
  }

  #end(results, success) {
    this.#ended = true;
    this.#port.finish(this, results, success, (performance.now() - this.#since) / 1000);
  }
}

/** What a client sees of a failure: an AgentError's words, nothing of other errors, results as they are. */
function forClient(error) {
  if (error instanceof AgentError) return { error_code: error.code, error: error.message };
  if (error instanceof Error || typeof error !== "object" || error === null) return { error: "The tool failed." };
  return error;
}
