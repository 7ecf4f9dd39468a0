/* Every runtime binding with this client, in Node and in Chromium: agents in Python, C and Node, killed and started again, as the
 * bridge is, between one conversation and the next. */
import assert from "node:assert/strict";
import path from "node:path";
import { test } from "node:test";
import { openPage, skip } from "./harness/page.js";
import { ROOT } from "./harness/process.js";
import { BUILD, Stack } from "./harness/stack.js";
import { until } from "./harness/wait.js";

const FIVE = ["agent_started", "agent_thinking", "tool_executing", "tool_completed", "agent_completed"];
const IN_PYTHON = path.join(ROOT, "bindings", "python", "demo_agent", "demo_agent.py");
const IN_NODE = path.join(ROOT, "bindings", "js", "runtime", "examples", "streaming-agent.mjs");

const AGENTS = {
  Python: ({ commands, events }) => [process.env.PYTHON ?? "/usr/bin/python3", "-B", IN_PYTHON, "--commands", commands,
    "--events", events, "--pace-ms", "5"],
  C: ({ commands, events }) => [path.join(BUILD, "bindings", "c", "examples", "streaming_agent"), commands, events],
  Node: ({ commands, events }) => [process.execPath, IN_NODE, commands, events],
};

/** A client in the page, beside the chat's own; what it has seen. */
async function inPage(page) {
  await page.evaluate(async () => {
    const { AgentSocket } = await import("/client/src/index.js");
    const token = async () => (await fetch("/token?user=alice")).text();
    window.seen = [];
    window.probe = new AgentSocket("/ws", { token, minDelayMs: 20, maxDelayMs: 200 });
    window.probe.on("event", (event) => window.seen.push(event));
  });
  return { online: () => page.evaluate(() => window.probe.state === "online"), events: () => page.evaluate(() => window.seen) };
}

/** One question from the client in Node. Every client must see its run whole, in order and once. */
async function converse(socket, clients) {
  const begun = new Promise((resolve) => socket.once("run", resolve));
  assert.equal((await socket.send({ type: "user_message", text: "What is 6 * 7?" })).confirmed, true);
  const run = await begun;
  await run.done;
  const types = run.events.map(({ type }) => type);
  assert.deepEqual([...new Set(types)].filter((type) => FIVE.includes(type)), FIVE);
  assert.deepEqual([types[0], types.at(-1), run.gaps], ["agent_started", "agent_completed", 0]);
  const offsets = run.events.map(({ _offset }) => _offset);
  assert.ok(offsets.every((offset, at) => at === 0 || offset > offsets[at - 1]), `offsets ${offsets}`);
  for (const events of clients) {
    const seen = await until(async () => {
      const ours = (await events()).filter(({ run_id: id }) => id === run.id);
      return ours.some(({ type }) => type === "agent_completed") && ours;
    }, "the whole run at every client");
    assert.deepEqual(seen, run.events);
  }
}

for (const [language, words] of Object.entries(AGENTS))
  test(`an agent in ${language}: the five events in Node and in Chromium, over the death of the agent and of the bridge`, async (t) => {
    const stack = new Stack(t);
    await stack.startAgent(words);
    await stack.startBridge();
    const socket = await stack.online();
    const page = skip ? null : await inPage((await openPage(t, stack)).page);
    const clients = [async () => socket.seen.events, ...(page ? [page.events] : [])];
    const allOnline = () => until(async () => socket.state === "online" && (!page || (await page.online())), "all clients are online");
    await allOnline();
    await converse(socket, clients);

    await stack.agent.kill();
    await until(async () => !(await fetch(`${stack.admin}/readyz`)).ok, "the bridge misses the agent");
    await stack.startAgent(words);
    await stack.ready();
    await converse(socket, clients);

    await stack.bridge.kill();
    await until(() => socket.state !== "online");
    await stack.startBridge();
    await allOnline();
    await converse(socket, clients);

    assert.deepEqual([socket.stats.repeats, socket.seen.faults, socket.seen.resyncs.map(({ reason }) => reason)], [0, [], ["unknown_epoch"]]);
    if (skip) t.diagnostic(`without Chromium: ${skip}`);
  });
