/* The chat page in a real Chromium. Pictures of it go to build/. */
import assert from "node:assert/strict";
import path from "node:path";
import { test } from "node:test";
import { openPage, PICTURES, skip } from "./harness/page.js";
import { Stack } from "./harness/stack.js";
import { SCALE, until } from "./harness/wait.js";

/** What a run shows. */
const shown = (page, run) => page.locator(`[data-run="${run}"]`).evaluate((item) => ({
  task: item.querySelector(".task").textContent,
  thinking: [...item.querySelectorAll(".thought")].map((line) => line.textContent),
  tools: [...item.querySelectorAll(".tool")].map((line) => line.textContent),
  answer: item.querySelector(".answer").textContent,
}));

test("a conversation with the demo agent, light and dark; another one is stopped", { skip }, async (t) => {
  const stack = new Stack(t);
  await stack.startDemoAgent(10);
  await stack.startBridge();
  const { page, faults } = await openPage(t, stack, { colorScheme: "light" });
  await page.getByLabel("Ask the agent").fill("What is (17 + 4) * 2?");
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByText("(17 + 4) * 2 = 42", { exact: true }).waitFor();
  assert.deepEqual(await shown(page, await page.locator("[data-run]").getAttribute("data-run")), {
    task: "What is (17 + 4) * 2?",
    thinking: ["The question holds the expression (17 + 4) * 2. The calculator will tell.", "That is enough to answer."],
    tools: ['calculator {"expression":"(17 + 4) * 2"} → {"expression":"(17 + 4) * 2","value":42}'],
    answer: "(17 + 4) * 2 = 42",
  });
  await page.screenshot({ path: path.join(PICTURES, "chat-light.png") });
  await page.emulateMedia({ colorScheme: "dark" });
  await page.screenshot({ path: path.join(PICTURES, "chat-dark.png") });
  assert.equal(await page.getByRole("button", { name: "Stop" }).isDisabled(), true);
  await stack.agent.kill();
  await stack.startDemoAgent(60_000);
  await stack.agent.line(/CONNECT/);
  await page.getByLabel("Ask the agent").fill("1 + 1");
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Stop" }).click();
  await page.getByText("Stopped on request.").waitFor();
  assert.deepEqual(faults, []);
});

test("a run goes on over a cut connection and a killed bridge: nothing twice, nothing missing, the badge tells", { skip }, async (t) => {
  const stack = new Stack(t);
  const runtime = await stack.startRuntime();
  await stack.startBridge();
  const { page, faults } = await openPage(t, stack);
  const badges = await page.evaluateHandle(() => {
    const seen = [];
    const badge = document.getElementById("badge");
    new MutationObserver(() => seen.push(badge.dataset.state)).observe(badge, { attributes: true });
    return seen;
  });
  const emit = (type, fields) => runtime.emit("alice", { type, run_id: "r", ...fields });
  const think = (n) => emit("agent_thinking", { delta: ` ${n}`, step_number: 1 });
  const thought = (n) => page.locator(".thought", { hasText: new RegExp(` ${n}$`) }).waitFor();
  emit("agent_started", { task_description: "count" });
  think(1);
  await thought(1);
  stack.proxy.cut();
  think(2);
  await thought(2);
  await stack.bridge.kill();
  await page.locator("#badge[data-state=reconnecting]").waitFor();
  await page.screenshot({ path: path.join(PICTURES, "chat-reconnecting.png") });
  await until(() => runtime.subscribers === 0, "the runtime has seen the bridge go");
  await stack.startBridge();
  await page.locator("#badge[data-state=online]").waitFor({ timeout: 40_000 * SCALE });
  emit("tool_executing", { tool_name: "calc", tool_args: {}, execution_id: "e" });
  emit("tool_completed", { tool_name: "calc", results: 3, success: true, execution_id: "e" });
  think(3);
  emit("agent_completed", { status: "completed", final_response: "done" });
  await page.getByText("done", { exact: true }).waitFor();
  assert.deepEqual(await shown(page, "r"), { task: "count", thinking: [" 1 2 3"], tools: ["calc {} → 3"], answer: "done" });
  assert.equal(await page.getByRole("alert").count(), 1); // the killed bridge; the cut connection lost nothing
  const states = await badges.jsonValue();
  assert.equal(states.at(-1), "online");
  assert.ok(states.includes("reconnecting"));
  assert.deepEqual(faults, []);
  await page.screenshot({ path: path.join(PICTURES, "chat-resumed.png") });
  await until(() => runtime.commands.filter(({ command }) => command === "CONNECT").length >= 3);
});
