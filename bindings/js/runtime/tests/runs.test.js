import assert from "node:assert/strict";
import test from "node:test";
import { AgentError, CancelledError } from "../src/index.js";
import { gate, Stack, within } from "./harness.js";

const ENDS = ["agent_completed", "agent_error"];

/** Sends a mark behind everything, so that nothing more of what came before can follow. */
async function upTo(runtime, client) {
  await runtime.emit("alice", "mark");
  await client.type("mark");
  return client.events().filter(({ type }) => type !== "mark");
}

async function endOf(runtime, client) {
  const ends = (await upTo(runtime, client)).filter(({ type }) => ENDS.includes(type));
  assert.equal(ends.length, 1);
  return ends[0];
}

test("an error ends the run, and its text stays here", async (t) => {
  const stack = new Stack(t);
  const { runtime, client } = await stack.all();
  await assert.rejects(runtime.run("alice", async () => { throw new Error("password is hunter2"); }), /hunter2/);
  const end = await endOf(runtime, client);
  assert.deepEqual([end.type, end.error_code, end.error_message], ["agent_error", "AGENT_FAILED", "The agent failed on this message."]);
  assert.ok(!client.texts.join().includes("hunter2"));
  assert.equal(stack.logs.filter((line) => line.includes("hunter2")).length, 1);
  assert.equal(runtime.stats.runs, 0);
});

test("an AgentError is for the client", async (t) => {
  const stack = new Stack(t);
  const { runtime, client } = await stack.all();
  await assert.rejects(runtime.run("alice", () => { throw new AgentError("QUOTA", "No more today."); }), AgentError);
  const end = await endOf(runtime, client);
  assert.deepEqual([end.error_code, end.error_message], ["QUOTA", "No more today."]);
});

test("cancelling ends at once, aborts the signal, and closes open tools", async (t) => {
  const stack = new Stack(t);
  const { runtime, client } = await stack.all();
  const began = gate();
  const working = runtime.run("alice", { runId: "r1" }, async (run) => {
    await run.tool("slow", {}, async (call) => {
      began.open();
      await new Promise((_, reject) => call.signal.addEventListener("abort", () => reject(call.signal.reason)));
    });
  });
  await within(began.promise, "the tool");
  assert.equal(runtime.cancelRuns("bob", { runId: "r1" }), 0);
  assert.equal(runtime.cancelRuns("alice", { runId: "r1", reason: "Stopped." }), 1);
  await assert.rejects(working, CancelledError);
  const events = await upTo(runtime, client);
  assert.deepEqual(events.map(({ type }) => type), ["agent_started", "tool_executing", "tool_completed", "agent_error"]);
  assert.deepEqual([events[2].success, events[2].results], [false, { error: "The run ended before the tool did." }]);
  assert.deepEqual([events[3].error_code, events[3].error_message], ["CANCELLED", "Stopped."]);
});

test("code that ignores the signal can add nothing, and its answer is not one", async (t) => {
  const stack = new Stack(t);
  const { runtime, client } = await stack.all();
  let refusal;
  await assert.rejects(runtime.run("alice", async (run) => {
    run.cancel();
    run.thinking("nobody awaits this").catch(() => {});
    run.chunk("nor this"); // rejects, and must not end the process
    refusal = await run.thinking("after").catch((error) => error);
    return "an answer";
  }), CancelledError);
  assert.equal(refusal.code, "CANCELLED");
  assert.deepEqual((await upTo(runtime, client)).map(({ type }) => type), ["agent_started", "agent_error"]);
  assert.equal(runtime.stats.callsRefused, 0);
});

test("ids that are not Unicode are the same in and out", async (t) => {
  const stack = new Stack(t);
  const { runtime, client } = await stack.all();
  await runtime.startRun("alice", { runId: "r\ud800", threadId: "t\udc00" });
  const { run_id, thread_id } = await client.type("agent_started");
  assert.deepEqual([run_id, thread_id, [...runtime.runs.keys()]], ["r\ufffd", "t\ufffd", [run_id]]);
  assert.equal(runtime.cancelRuns("alice", { runId: run_id, threadId: "t\udc00" }), 1);
});

test("a signal from outside cancels, and one that has aborted starts nothing", async (t) => {
  const stack = new Stack(t);
  const { runtime, client } = await stack.all();
  const controller = new AbortController();
  const run = await runtime.startRun("alice", { signal: controller.signal });
  controller.abort();
  assert.deepEqual([run.outcome, run.signal.aborted, run.cancel()], ["cancelled", true, false]);
  await assert.rejects(runtime.startRun("alice", { signal: controller.signal }), { name: "AbortError" });
  assert.deepEqual((await upTo(runtime, client)).map(({ type }) => type), ["agent_started", "agent_error"]);
});

test("after the end nothing follows; each refusal is clear and counted", async (t) => {
  const stack = new Stack(t);
  const { runtime, client } = await stack.all();
  const run = await runtime.startRun("alice");
  const call = await run.startTool("t");
  await call.complete(1);
  await assert.rejects(call.fail("again"), { code: "TOOL_ENDED" });
  await run.complete("done", { status: "partly", fields: { tokens: 7 } });
  for (const late of [() => run.complete(), () => run.fail(new Error("x")), () => run.thinking("x"), () => run.tool("t", {}, () => {}), () => run.emit("x")])
    await assert.rejects(late, { code: "RUN_ENDED", message: `run ${run.id} has ended (completed); nothing can follow` });
  const end = await endOf(runtime, client);
  assert.deepEqual([end.status, end.final_response, end.tokens], ["partly", "done", 7]);
  assert.equal(runtime.stats.callsRefused, 6);
});

test("tools: one end each, whether the body returns, throws or says so itself", async (t) => {
  const stack = new Stack(t);
  const { runtime, client } = await stack.all();
  await runtime.run("alice", async (run) => {
    assert.equal(await run.tool("a", { x: 1 }, () => 5), 5);
    assert.equal(await run.tool("b", {}, () => undefined), undefined);
    await assert.rejects(run.tool("c", {}, () => { throw new Error("secret"); }), /secret/);
    await assert.rejects(run.tool("d", {}, () => { throw new AgentError("NO_ROWS", "Nothing there."); }), AgentError);
    await run.tool("e", {}, async (call) => { await call.fail({ rows: 0 }); return "ignored"; });
    await assert.rejects(run.tool("f", {}, () => ({ leak: new Error("x") })), { code: "BAD_VALUE" });
    await run.startTool("left open");
  });
  const ends = (await upTo(runtime, client)).filter(({ type }) => type === "tool_completed");
  assert.deepEqual(ends.map(({ tool_name, success, results }) => [tool_name, success, results]), [
    ["a", true, 5], ["b", true, null], ["c", false, { error: "The tool failed." }],
    ["d", false, { error_code: "NO_ROWS", error: "Nothing there." }], ["e", false, { rows: 0 }],
    ["f", false, { error_code: "BAD_VALUE", error: "The results cannot be sent." }], ["left open", false, { error: "The run ended before the tool did." }]]);
  const begun = client.events().filter(({ type }) => type === "tool_executing");
  assert.deepEqual(begun.map(({ execution_id }) => execution_id), ends.map(({ execution_id }) => execution_id));
});

test("an answer that cannot be sent ends the run all the same", async (t) => {
  const stack = new Stack(t);
  const { runtime, client } = await stack.all({ runtime: { maxEventBytes: 10_000 } });
  await assert.rejects(runtime.run("alice", () => "x".repeat(10_000)), { code: "EVENT_TOO_LARGE" });
  await assert.rejects(runtime.run("alice", () => ({ f() {} })), { code: "BAD_VALUE", message: /final_response\.f is a function/ });
  await assert.rejects(runtime.run("alice", () => { throw new AgentError("LONG", "x".repeat(10_000)); }), AgentError);
  const events = await upTo(runtime, client);
  assert.deepEqual(events.map(({ type, error_code }) => error_code ?? type),
                   ["agent_started", "AGENT_FAILED", "agent_started", "AGENT_FAILED", "agent_started", "AGENT_FAILED"]);
});

test("what a caller may not set is refused before anything is sent", async (t) => {
  const stack = new Stack(t);
  const { runtime, client } = await stack.all();
  const run = await runtime.startRun("alice");
  for (const name of ["type", "user_id", "event_id", "timestamp", "run_id", "thread_id", "agent_name", "_offset"])
    await assert.rejects(run.emit("note", { [name]: "x" }), { code: "RESERVED_FIELD", message: new RegExp(`^"${name}" is set by`) });
  await assert.rejects(run.chunk("x", { delta: "y" }), { code: "RESERVED_FIELD" });
  for (const type of ["agent_started", "agent_completed", "agent_error", "tool_executing", "tool_completed"]) await assert.rejects(run.emit(type), { code: "RESERVED_FIELD" });
  await assert.rejects(run.thinking(undefined), { code: "BAD_ARGUMENT", message: "thinking: a string, not undefined" });
  await assert.rejects(runtime.emit("alice", "note", { user_id: "bob" }), { code: "RESERVED_FIELD" });
  await assert.rejects(runtime.emit("a\nb", "note"), { code: "BAD_ARGUMENT" });
  await assert.rejects(runtime.emit("half \ud800", "note"), { code: "BAD_ARGUMENT" });
  await assert.rejects(runtime.startRun("alice", { runId: run.id }), { code: "BAD_ARGUMENT", message: `run "${run.id}" is open already` });
  await assert.rejects(runtime.startRun("alice", { runId: "x".repeat(256) }), { code: "BAD_ARGUMENT" });
  await assert.rejects(runtime.startRun("alice", { thread_id: "t" }), { code: "BAD_ARGUMENT", message: /"thread_id" is no option/ });
  await run.complete();
  assert.deepEqual((await upTo(runtime, client)).map(({ type }) => type), ["agent_started", "agent_completed"]);
});

test("a handler that throws ends the runs that it has started, and the next message is handled", async (t) => {
  const stack = new Stack(t);
  const { runtime, client } = await stack.all({ prepare: (runtime) => runtime.on("message", async (message) => {
    const run = await runtime.startRun(message.user);
    if (message.json().fail) throw new Error("of the handler");
    await run.complete("well");
  }) });
  client.say({ type: "go", fail: true });
  await client.type("agent_error");
  client.say("not json");
  client.say({ type: "go" });
  await client.type("agent_completed");
  assert.deepEqual(client.types(), ["agent_started", "agent_error", "agent_started", "agent_completed"]);
  assert.equal(runtime.stats.handlerErrors, 1);
  assert.ok(stack.logs.some((line) => line.startsWith('error: the handler of "message" failed: Error: of the handler')));
});

test("runs that nobody awaits do not end the process, whatever they do", async (t) => {
  const stack = new Stack(t);
  const { runtime, client } = await stack.all({ prepare: (runtime) => runtime.on("message", () => {
    runtime.run("alice", () => { throw new Error("in the body"); });
    runtime.run("alice", () => { throw new AgentError("NO", "Not today."); });
    runtime.run("a\nb", () => {});
    runtime.send({}, {});
    runtime.emit("alice", "");
  }) });
  client.say({ type: "go" });
  await client.type("agent_error", 2);
  assert.deepEqual(client.events().filter(({ type }) => type === "agent_error").map(({ error_code }) => error_code).sort(), ["AGENT_FAILED", "NO"]);
  await new Promise(setImmediate); // an unhandled rejection would be raised by now, and fail this test
  assert.deepEqual([runtime.stats.callsRefused, runtime.stats.handlerErrors], [3, 0]);
  assert.equal(stack.logs.length, 4, stack.logs.join("\n"));
});

test("a run left open by its block ends with an error", async (t) => {
  const stack = new Stack(t);
  const { runtime, client } = await stack.all();
  const run = await runtime.startRun("alice");
  await run[Symbol.asyncDispose]();
  await run[Symbol.asyncDispose]();
  const end = await endOf(runtime, client);
  assert.deepEqual([end.error_code, end.error_message], ["AGENT_FAILED", "The agent left without an answer."]);
});

test("strings that are not Unicode, and everything a field may hold, reach the client", async (t) => {
  const stack = new Stack(t);
  const { runtime, client } = await stack.all();
  const deep = Array.from({ length: 62 }).reduce((inner) => [inner], []);
  await runtime.emit("alice", "kinds", { half: "a\ud83d", at: new Date("2024-02-29T12:00:00.250Z"), big: 2n ** 60n + 1n, bytes: Buffer.from("hi"),
                                         nan: NaN, map: new Map([["k", 1]]), gone: undefined, far: 2 ** 40, deep });
  await assert.rejects(runtime.emit("alice", "deeper", { deep: [deep] }), { code: "BAD_VALUE" });
  const event = await client.type("kinds");
  assert.deepEqual([event.half, event.at, event.bytes, event.nan, event.map, "gone" in event, event.far, event.deep],
                   ["a\ufffd", "2024-02-29T12:00:00.250Z", "aGk=", null, { k: 1 }, false, 2 ** 40, deep]);
  assert.match(client.texts.at(-1), /"big":1152921504606846977,/);
  assert.match(client.texts.at(-1), /"far":1099511627776,/);
});
