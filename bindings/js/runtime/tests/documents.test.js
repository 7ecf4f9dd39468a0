import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import * as api from "../src/index.js";
import { HERE, ROOT, Stack, within } from "./harness.js";

const read = (...path) => readFileSync(join(...path), "utf8");

test("the first program of the README works as printed (but for its two ports)", async (t) => {
  const stack = new Stack(t);
  const [, program] = /```js\n(.*?)```/s.exec(read(HERE, "README.md"));
  const [commands, events] = await stack.ports(2);
  const child = stack.program(["--input-type=module", "-e", program.replace(":5555", `:${commands}`).replace(":5556", `:${events}`)], { cwd: HERE });
  const bridge = await stack.bridge(null, { "runtime-commands": `>tcp://127.0.0.1:${commands}`, "runtime-events": `>tcp://127.0.0.1:${events}` });
  const client = await stack.client(bridge);
  client.say({ type: "user_message", text: "What is 6 * 7?" });
  const end = await client.type("agent_completed");
  assert.equal(end.final_response, "The answer is 42.");
  assert.deepEqual(client.types(), ["agent_started", "agent_thinking", "tool_executing", "tool_completed", "agent_completed"]);
  assert.deepEqual(child.err, []);
});

test("the example: streams, uses tools, stops on request, ends on SIGTERM", async (t) => {
  const stack = new Stack(t);
  const at = stack.endpoints();
  const child = stack.program(["examples/streaming-agent.mjs", `@${at.commands}`, `@${at.events}`], { cwd: HERE, env: { ...process.env, PACE_MS: "1" } });
  const bridge = await stack.bridge(null, { "runtime-commands": `>${at.commands}`, "runtime-events": `>${at.events}` });
  const client = await stack.client(bridge);
  const ask = async (text, count) => {
    client.say({ type: "user_message", text, message_id: `m${count}`, thread_id: "t1" });
    return (await client.type("agent_completed", count)).final_response;
  };
  assert.equal(await ask("What is (17 + 4) * 2?", 1), "(17 + 4) * 2 is 42.");
  assert.deepEqual(client.types(), ["agent_started", "agent_thinking", "agent_thinking", "tool_executing", "tool_completed",
                                    "stream_chunk", "stream_chunk", "stream_chunk", "agent_completed"]);
  assert.deepEqual([client.events()[0].message_id, client.events()[0].thread_id], ["m1", "t1"]);
  assert.equal(await ask("just some words", 2), "Your message has 3 words.");
  assert.equal(await ask("What is 1 / 0?", 3), "I cannot work that out.");
  assert.equal((await client.type("tool_completed", 3)).results.error, "1 / 0 has no value.");
  client.say({ type: "dance" });
  assert.equal((await client.type("not_understood")).received, "dance");
  child.child.kill("SIGTERM");
  assert.deepEqual(await within(child.exit, "its end"), { code: 0, signal: null });
  assert.deepEqual(child.err, []);
});

test("the example's stop button", async (t) => {
  const stack = new Stack(t);
  const at = stack.endpoints();
  stack.program(["examples/streaming-agent.mjs", `@${at.commands}`, `@${at.events}`], { cwd: HERE, env: { ...process.env, PACE_MS: "3600000" } });
  const bridge = await stack.bridge(null, { "runtime-commands": `>${at.commands}`, "runtime-events": `>${at.events}` });
  const client = await stack.client(bridge);
  client.say({ type: "user_message", text: "2 + 2" });
  const { run_id } = await client.type("agent_started");
  client.say({ type: "stop_agent", run_id });
  const end = await client.type("agent_error");
  assert.deepEqual([end.run_id, end.error_code, end.error_message], [run_id, "CANCELLED", "Stopped on request."]);
});

test("one version, everywhere", () => {
  const { version, type, license } = JSON.parse(read(HERE, "package.json"));
  assert.deepEqual([version, type, license], [api.VERSION, "module", "Apache-2.0"]);
  assert.match(read(ROOT, "CMakeLists.txt"), new RegExp(`VERSION ${version.replaceAll(".", "\\.")}\\b`));
});

/** Names in a class of index.d.ts, and of the class itself. */
function declared(name) {
  const [, body] = new RegExp(`^export class ${name} .*?\\{\\n(.*?)^\\}`, "ms").exec(read(HERE, "index.d.ts"));
  return new Set([...body.matchAll(/^ {2}(?:readonly )?(\w+)[(<?:]/gm)].map(([, member]) => member).filter((member) => member !== "constructor"));
}

test("the types name what is there, and nothing else", () => {
  const exported = [...read(HERE, "index.d.ts").matchAll(/^export (?:class|function|const) (\w+)/gm)].map(([, name]) => name);
  assert.deepEqual(Object.keys(api).sort(), exported.sort());
  for (const name of ["Runtime", "Run", "ToolCall"]) {
    const there = Object.getOwnPropertyNames(api[name].prototype).filter((member) => !["constructor", "begin", "abandon"].includes(member));
    for (const member of there) assert.ok(declared(name).has(member), `${name}.${member} is not declared`);
  }
  for (const member of declared("Runtime")) assert.ok(member in api.Runtime.prototype, `Runtime.${member} is not there`);
  const { stats } = new api.Runtime();
  const [, body] = /^export interface Stats \{\n(.*?)^\}/ms.exec(read(HERE, "index.d.ts"));
  assert.deepEqual(Object.keys(stats).sort(), [...body.matchAll(/^ {2}(\w+): number/gm)].map(([, member]) => member).sort());
});

test("every option is declared, and every one declared is an option", () => {
  const [, body] = /^export interface RuntimeOptions \{\n(.*?)^\}/ms.exec(read(HERE, "index.d.ts"));
  const names = [...body.matchAll(/^ {2}(\w+)\?:/gm)].map(([, member]) => member);
  let message;
  try {
    new api.Runtime({ nonsense: 1 });
  } catch (error) {
    message = error.message;
  }
  assert.equal(message, `"nonsense" is no option; there are ${names.join(", ")}`);
});
