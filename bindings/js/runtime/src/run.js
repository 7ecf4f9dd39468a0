// One piece of an agent's work. It ends once, whatever happens (proto/README.md, runs).
import { AgentError, CancelledError, fault } from "./errors.js";
import { checkFields, checkString, checkText, newId, stamp } from "./fields.js";
import { asyncDispose, ToolCall } from "./tool.js";

const RUN_ID_BYTES = 255;
const FAILED = new AgentError("AGENT_FAILED", "The agent failed on this message.");
const LEFT_OPEN = new AgentError("AGENT_FAILED", "The agent left without an answer.");
const ONCE_ONLY = { agent_started: "startRun()", agent_completed: "complete()", agent_error: "fail()", tool_executing: "tool()", tool_completed: "tool()" };

export class Run {
  #port; // {publish (user, event, must), pace (), closed (run), refused (run, error), failed (run, error)}
  #abort = new AbortController();
  #started = performance.now();
  #tools = new Set(); // open ones
  #step = 1;
  #outcome = null;
  #given;             // the caller's signal
  #unlink = () => {};

  /** @internal */
  constructor(port, user, { runId = newId("run"), threadId, agentName, signal }) {
    checkText("runId", runId, RUN_ID_BYTES);
    if (threadId !== undefined) checkText("threadId", threadId);
    this.#port = port;
    this.user = user;
    this.id = runId;
    this.threadId = threadId;
    this.agentName = agentName;
    this.#given = signal;
  }

  get signal() {
    return this.#abort.signal;
  }

  get ended() {
    return this.#outcome !== null;
  }

  get outcome() {
    return this.#outcome;
  }

  /** @internal */
  begin(task, extra) {
    const own = task === undefined ? {} : { task_description: task };
    this.#publish("agent_started", { ...own, ...checkFields(extra, ["task_description"], true) });
    if (this.#given) this.#follow(this.#given);
  }

  emit(type, fields) {
    return this.#act(() => {
      checkText("type", type);
      if (Object.hasOwn(ONCE_ONLY, type))
        throw fault("RESERVED_FIELD", `${type} comes from ${ONCE_ONLY[type]}, so that each beginning has its one end`);
      this.#emit(type, {}, fields);
    });
  }

  thinking(text, { whole = false, step = this.#step, fields } = {}) {
    return this.#act(() => {
      checkString("thinking", text);
      this.#emit("agent_thinking", { [whole ? "reasoning" : "delta"]: text, step_number: step }, fields);
    });
  }

  chunk(delta, fields) {
    return this.#act(() => {
      checkString("chunk", delta);
      this.#emit("stream_chunk", { delta }, fields);
    });
  }

  progress(fields) {
    return this.#act(() => this.#emit("progress_update", {}, fields));
  }

  startTool(name, args = {}, fields) {
    return this.#act(() => {
      checkText("tool", name);
      const call = new ToolCall(this.#toolPort(), name, args);
      this.#emit("tool_executing", { tool_name: name, tool_args: args, execution_id: call.executionId }, fields);
      this.#tools.add(call);
      this.#step++;
      return call;
    });
  }

  async tool(name, args, body) {
    const call = await this.startTool(name, args);
    try {
      this.signal.throwIfAborted();
      const results = await body(call);
      this.signal.throwIfAborted();
      if (!call.ended) await call.complete(results);
      return results;
    } catch (error) {
      this.signal.throwIfAborted();
      if (!call.ended) await call.fail(error);
      throw error;
    }
  }

  complete(finalResponse = "", { status = "completed", fields } = {}) {
    return this.#act(() => {
      this.#mustBeOpen();
      const own = { status, final_response: finalResponse, duration_ms: Math.round(performance.now() - this.#started) };
      try {
        checkText("status", status);
        this.#end("completed", "agent_completed", { ...own, ...checkFields(fields, Object.keys(own), true) });
      } catch (error) {
        this.#endBadly(FAILED); // an answer that cannot be sent ends the run all the same
        throw error;
      }
    });
  }

  fail(error, message) {
    return this.#act(() => {
      this.#mustBeOpen();
      const told = typeof error === "string" ? new AgentError(error, message) : error;
      this.#port.failed(this, told);
      this.#endBadly(told instanceof AgentError ? told : FAILED);
    });
  }

  cancel(reason = "The run was cancelled.") {
    if (this.ended) return false;
    const error = new CancelledError(reason);
    this.#endBadly(error, "cancelled");
    this.#abort.abort(error);
    return true;
  }

  async [asyncDispose]() {
    if (!this.ended) await this.fail(LEFT_OPEN);
  }

  // Every public verb: does `work` in this turn, so that calls keep their order, then makes way for others. A refusal that
  // nobody awaits must not end the process (unhandledRejection): it is counted and logged.
  #act(work) {
    const done = (async () => {
      const result = work();
      await this.#port.pace();
      return result;
    })();
    done.catch((error) => this.#port.refused(this, error));
    return done;
  }

  #mustBeOpen() {
    this.signal.throwIfAborted();
    if (this.ended) throw fault("RUN_ENDED", `run ${this.id} has ended (${this.#outcome}); nothing can follow`);
  }

  #emit(type, own, extra) {
    this.#mustBeOpen();
    this.#publish(type, { ...own, ...checkFields(extra, Object.keys(own), true) });
  }

  #publish(type, fields, must = false) {
    const head = { ...stamp(type, this.user), thread_id: this.threadId, run_id: this.id, agent_name: this.agentName };
    this.#port.publish(this.user, { ...head, ...fields }, must);
  }

  // Ends of runs and tools pass the limit of a burst: they must not be missing.
  #end(outcome, type, fields) {
    for (const call of this.#tools) call.abandon();
    this.#publish(type, fields, true);
    this.#outcome = outcome;
    this.#unlink();
    this.#port.closed(this);
  }

  #endBadly({ code, message }, outcome = "failed") {
    try {
      this.#end(outcome, "agent_error", { error_code: code, error_message: message });
    } catch (error) {
      if (error.code !== "EVENT_TOO_LARGE") throw error;
      this.#end(outcome, "agent_error", { error_code: FAILED.code, error_message: FAILED.message });
    }
  }

  #toolPort() {
    return { signal: this.signal, act: (work) => this.#act(work), finish: (...end) => this.#endTool(...end) };
  }

  #endTool(call, results, success, seconds) {
    const own = { tool_name: call.name, success, execution_time: seconds, execution_id: call.executionId };
    this.#tools.delete(call);
    try {
      this.#publish("tool_completed", { ...own, results }, true);
    } catch (error) {
      const said = { error_code: error.code, error: "The results cannot be sent." };
      this.#publish("tool_completed", { ...own, success: false, results: said }, true);
      throw error;
    }
  }

  #follow(signal) {
    const cancel = () => this.cancel();
    signal.addEventListener("abort", cancel, { once: true });
    this.#unlink = () => signal.removeEventListener("abort", cancel);
  }
}
