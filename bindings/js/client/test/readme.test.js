/* The program at the top of README.md works as printed, and the types name what there is. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { AgentSocket } from "../src/index.js";
import { settle } from "../src/defaults.js";
import { Runs } from "../src/runs.js";
import { Process } from "./harness/process.js";
import { Stack, token } from "./harness/stack.js";
import { until } from "./harness/wait.js";

const HERE = fileURLToPath(new URL(".", import.meta.url));

test("the program of the README", async (t) => {
  const stack = new Stack(t);
  await stack.startDemoAgent(5);
  await stack.startBridge();
  const tokens = createServer((_, response) => response.end(token()));
  await new Promise((resolve) => tokens.listen(0, "127.0.0.1", resolve));
  stack.onEnd(() => tokens.close());
  const folder = await mkdtemp(path.join(HERE, "program-")); // inside the workspace, where the package is found
  stack.onEnd(() => rm(folder, { recursive: true }));
  const [, program] = /```js\n(.*?)```/s.exec(readFileSync(path.join(HERE, "../README.md"), "utf8"));
  assert.ok(program.includes("ws://127.0.0.1:8080/ws"));
  // what a page has and Node 20 has not: a host, a WebSocket
  const page = `import WebSocket from "ws"; globalThis.WebSocket = WebSocket; const { fetch } = globalThis;
    globalThis.fetch = (url) => fetch(new URL(url, "http://127.0.0.1:${tokens.address().port}"));`;
  await writeFile(path.join(folder, "page.mjs"), page);
  await writeFile(path.join(folder, "program.mjs"), program.replace("ws://127.0.0.1:8080/ws", stack.url));
  const run = new Process(process.execPath, ["--import", path.join(folder, "page.mjs"), path.join(folder, "program.mjs")]);
  stack.onEnd(() => run.kill());
  await until(() => !run.running, "the program ends");
  assert.deepEqual(await run.exited, { code: 0, signal: null }, run.lines.join("\n"));
  assert.deepEqual([run.lines[0], run.lines.at(-1)], ["agent_started ", "agent_completed 6 * 7 = 42"]);
});

test("the types have the members, the options and the listeners that there are", () => {
  const program = ts.createProgram([path.join(HERE, "../src/index.d.ts")], { target: ts.ScriptTarget.ES2022, noLib: true });
  const checker = program.getTypeChecker();
  const source = program.getSourceFile(path.join(HERE, "../src/index.d.ts"));
  const members = (name) => {
    const symbol = checker.getExportsOfModule(checker.getSymbolAtLocation(source)).find((found) => found.name === name);
    return checker.getDeclaredTypeOfSymbol(symbol).getProperties().map((member) => member.name).filter((word) => !word.startsWith("__")).sort();
  };
  const own = (prototype) => Object.getOwnPropertyNames(prototype).filter((name) => name !== "constructor").sort();
  const internal = ["push", "confirm", "gap", "abandon", "take", "snapshot", "close"];
  assert.deepEqual(members("AgentSocket"), own(AgentSocket.prototype));
  assert.deepEqual(members("Runs"), own(Runs.prototype).filter((name) => !internal.includes(name)));
  assert.deepEqual(members("AgentSocketOptions"), Object.keys(settle({ WebSocket: class {} })).sort());
  const runs = new Runs({ events: 1, bytes: 1, ended: 1, open: 1 }, () => {});
  runs.take({ type: "x", run_id: "r" }, 1);
  const run = runs.get("r");
  const there = [...own(Object.getPrototypeOf(run)), ...Object.keys(run)].filter((name) => !internal.includes(name)).sort();
  assert.deepEqual(members("Run"), there);
});
