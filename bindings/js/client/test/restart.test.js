/* Bridges and runtimes that die, drain and come back. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { hurriedClock, patient } from "./harness/clock.js";
import { Stack } from "./harness/stack.js";
import { until } from "./harness/wait.js";

const code = (expected) => (fault) => fault.code === expected;

test("the bridge is killed and comes back: told once, every event that is emitted then comes once, runs go on", async (t) => {
  const stack = new Stack(t);
  const runtime = await stack.startRuntime();
  await stack.startBridge();
  const socket = await stack.online();
  const emit = (n, type = "x") => runtime.emit("alice", { type, run_id: "r", n });
  emit(0, "agent_started");
  emit(1);
  const run = await until(() => socket.runs.get("r"));
  const lax = collect(run.iterate({ onGap: "continue" }));
  const strict = assert.rejects(collect(run), code("EVENTS_LOST"));
  await until(() => socket.seen.events.length === 2);
  await stack.bridge.kill();
  await until(() => socket.state === "reconnecting");
  const waiting = socket.send({ type: "say", n: 7 });
  await until(() => runtime.subscribers === 0, "the runtime has seen the bridge go");
  await stack.startBridge();
  await until(() => socket.state === "online");
  assert.deepEqual(await waiting, { id: (await waiting).id, confirmed: true });
  for (let n = 2; n <= 9; n++) emit(n);
  emit(10, "agent_completed");
  await run.done;
  await strict;
  assert.deepEqual(socket.seen.events.map(({ n }) => n), [...Array(11).keys()]);
  assert.deepEqual((await lax).map(({ n }) => n), [...Array(11).keys()]);
  assert.deepEqual(socket.seen.resyncs.map(({ reason, runs }) => [reason, runs]), [["unknown_epoch", [run]]]);
  assert.deepEqual([run.status, run.gaps, runtime.messages.map(({ n }) => n)], ["completed", 1, [7]]);
});

test("the runtime is killed: sends are refused, the run ends as lost, the connection lives on and works with the next one", async (t) => {
  const stack = new Stack(t);
  const first = await stack.startRuntime();
  await stack.startBridge({ "runtime-lost-s": 0 });
  const socket = await stack.online();
  first.emit("alice", { type: "agent_started", run_id: "r" });
  const run = await until(() => socket.runs.get("r"));
  await first.kill();
  const end = await run.done;
  assert.deepEqual([end.type, end.error_code, end._synthetic, run.status], ["agent_error", "RUNTIME_LOST", true, "failed"]);
  await assert.rejects(socket.send({ type: "say", n: 1, message_id: "m1" }),
    (fault) => fault.code === "RUNTIME_UNAVAILABLE" && fault.details.message_id === "m1");
  await assert.rejects(socket.sendBinary(new Uint8Array(3)), code("RUNTIME_UNAVAILABLE"));
  const second = await stack.startRuntime({ publisher: "second" });
  await until(async () => (await fetch(`${stack.admin}/readyz`)).ok, "the bridge has the second runtime");
  await second.command("CONNECT");
  assert.equal((await socket.send({ type: "say", n: 2 })).confirmed, true);
  await until(() => second.messages.length === 1);
  assert.deepEqual([second.messages[0].n, socket.stats.connections, socket.seen.faults], [2, 1, []]);
});

test("a drain: the run ends first, then the client waits as long as it was told, and comes to the next bridge", async (t) => {
  const stack = new Stack(t);
  const runtime = await stack.startRuntime();
  await stack.startBridge();
  let told;
  const waits = [];
  const clock = hurriedClock();
  const socket = await stack.online({
    ...patient,
    parse: (text) => {
      const frame = JSON.parse(text);
      if (frame.type === "bridge_draining") told = frame.data.reconnect_after_ms;
      return frame;
    },
    clock: { now: () => 0, setTimeout: (callback, ms) => (waits.push(ms), clock.setTimeout(callback, ms)) },
  });
  runtime.emit("alice", { type: "agent_started", run_id: "r" });
  const run = await until(() => socket.runs.get("r"));
  const left = stack.bridge.kill("SIGTERM");
  await until(() => socket.status.draining);
  assert.deepEqual([socket.state, run.status], ["online", "running"]);
  runtime.emit("alice", { type: "agent_completed", run_id: "r" });
  await run.done;
  const status = await new Promise((resolve) => socket.once("state", resolve));
  assert.deepEqual(status, { ...status, state: "reconnecting", code: 1012, nextAttemptAt: told, draining: false });
  assert.equal(waits.at(-1), told);
  assert.deepEqual(await left, { code: 0, signal: null });
  await until(() => runtime.subscribers === 0, "the runtime has seen the bridge go");
  await stack.startBridge();
  await until(() => socket.state === "online");
  assert.deepEqual(socket.seen.resyncs.map(({ reason }) => reason), ["unknown_epoch"]);
});

test("the demo agent: two conversations at once, each with its own run; one is stopped", async (t) => {
  const stack = new Stack(t);
  await stack.startDemoAgent(5);
  await stack.startBridge();
  const socket = await stack.online();
  const runs = [];
  socket.on("run", (run) => runs.push(run));
  await socket.send({ type: "user_message", text: "What is 6 * 7?", thread_id: "t1" });
  await socket.send({ type: "user_message", text: "how many words are there in this question, one wonders", thread_id: "t2" });
  await until(() => runs.length === 2);
  const types = (await collect(runs[0])).map(({ type }) => type);
  assert.deepEqual([...new Set(types)], ["agent_started", "agent_thinking", "tool_executing", "tool_completed", "agent_completed"]);
  assert.deepEqual([runs[0].threadId, runs[0].end.final_response, runs[0].task], ["t1", "6 * 7 = 42", "What is 6 * 7?"]);
  const thought = runs[0].events.filter(({ step_number }) => step_number === 1).map(({ delta }) => delta).join("");
  assert.equal(thought, "The question holds the expression 6 * 7. The calculator will tell.");
  assert.match((await runs[1].done).final_response, /^Your message has 10 words/);
  assert.deepEqual(runs.map(({ threadId }) => threadId), ["t1", "t2"]);
  assert.deepEqual([socket.stats.events, socket.stats.repeats, socket.seen.faults], [runs[0].events.length + runs[1].events.length, 0, []]);
  await stack.agent.kill();
  await stack.startDemoAgent(60_000);
  await until(async () => (await fetch(`${stack.admin}/readyz`)).ok, "the bridge has the agent again");
  await stack.agent.line(/CONNECT/);
  await socket.send({ type: "user_message", text: "1 + 1" });
  await until(() => runs.length === 3);
  await socket.send({ type: "stop_agent", run_id: runs[2].id });
  assert.equal((await runs[2].done).status, "cancelled");
});

async function collect(iterable) {
  const all = [];
  for await (const one of iterable) all.push(one);
  return all;
}
