import assert from "node:assert/strict";
import test from "node:test";
import { Stack } from "./harness.js";

test("a run as a client sees it", async (t) => {
  const stack = new Stack(t);
  const { client } = await stack.all({ runtime: { name: "golden", agentName: "Goldie" }, prepare: (runtime) =>
    runtime.on("message", (message) => runtime.run(message.user, { threadId: "t1", task: message.json().text }, async (run) => {
      await run.thinking("Let me ");
      await run.thinking("see.");
      const product = await run.tool("calculator", { expression: "6*7" }, async () => ({ value: 42 }));
      await run.thinking("That was easy.", { whole: true });
      await run.progress({ percent: 90 });
      await run.chunk("The answer ");
      await run.emit("note", { colour: "green" });
      return `The answer is ${product.value}.`;
    })) });
  client.say({ type: "user_message", text: "What is 6 × 7?" });
  await client.type("agent_completed");
  const events = client.events();
  assert.deepEqual(client.types(), ["agent_started", "agent_thinking", "agent_thinking", "tool_executing", "tool_completed",
                                    "agent_thinking", "progress_update", "stream_chunk", "note", "agent_completed"]);
  const [started, think, , executing, completed, whole, progress, chunk, note, end] = events;
  assert.equal(started.task_description, "What is 6 × 7?");
  assert.deepEqual([think.delta, think.step_number, whole.reasoning, whole.step_number], ["Let me ", 1, "That was easy.", 2]);
  assert.deepEqual([executing.tool_name, executing.tool_args], ["calculator", { expression: "6*7" }]);
  assert.deepEqual([completed.tool_name, completed.results, completed.success], ["calculator", { value: 42 }, true]);
  assert.equal(completed.execution_id, executing.execution_id);
  assert.ok(completed.execution_time >= 0);
  assert.deepEqual([progress.percent, chunk.delta, note.colour], [90, "The answer ", "green"]);
  assert.deepEqual([end.status, end.final_response, Number.isInteger(end.duration_ms)], ["completed", "The answer is 42.", true]);
  for (const event of events) {
    assert.deepEqual([event.user_id, event.thread_id, event.run_id, event.agent_name], ["alice", "t1", started.run_id, "Goldie"]);
    assert.match(event.event_id, /^[0-9a-f]{32}$/);
    assert.ok(Math.abs(event.timestamp - Date.now() / 1000) < 60);
  }
  assert.equal(new Set(events.map((event) => event.event_id)).size, events.length);
});
