import assert from "node:assert/strict";
import test from "node:test";
import { curveKeyPair } from "zeromq";
import { writeFileSync } from "node:fs";
import { readCertificate } from "../src/index.js";
import { gate, pollUntil, Stack, within } from "./harness.js";

const ROOMY = { "queue-messages": 100_000, "queue-bytes": 64 << 20 };
const upTo = (count) => Array.from({ length: count }, (_, n) => n);
const counted = (client) => client.events().filter(({ type }) => type === "count").map(({ n }) => n);

test("10,000 events arrive once each and in order", async (t) => {
  const stack = new Stack(t);
  const { runtime, bridge, client } = await stack.all({ bridge: ROOMY });
  await runtime.run("alice", async (run) => {
    for (let n = 0; n < 10_000; n++) await run.emit("count", { n });
  });
  await client.type("agent_completed");
  assert.deepEqual(counted(client), upTo(10_000));
  assert.equal(client.events().length, 10_002);
  assert.equal(await bridge.metric("agentbridge_events_lost_total"), 0);
  assert.equal(runtime.stats.eventsPublished, 10_002);
});

test("an agent that emits without a pause still answers the bridge", async (t) => {
  const stack = new Stack(t);
  const { runtime } = await stack.all({ bridge: { "runtime-ping-s": 1 }, user: "bob" });
  const before = runtime.stats.commandsReceived;
  for (let n = 0; runtime.stats.commandsReceived === before; n++) {
    assert.ok(n < 1_000_000, "no PING was read meanwhile");
    await runtime.emit("alice", "busy", { n });
  }
});

test("two bridges: events go to both, answers to the one where the connection is", async (t) => {
  const stack = new Stack(t);
  const cancelled = [];
  const runtime = await stack.runtime();
  runtime.on("message", (message) => runtime.send(message, { type: "answer", at: message.connection.bridge }));
  runtime.on("abandoned", (event) => cancelled.push(event));
  const [a, b] = await Promise.all(["pod-a", "pod-b"].map((id) => stack.bridge(runtime, { "bridge-id": id, "abandon-grace-s": 1 })));
  const [atA, atB] = [await stack.client(a), await stack.client(b)];
  const run = await runtime.startRun("alice", { runId: "r1" });
  for (const client of [atA, atB]) {
    client.say({ type: "go" });
    await client.type("agent_started");
  }
  assert.deepEqual([(await atA.type("answer")).at, (await atB.type("answer")).at], ["pod-a", "pod-b"]);
  // Alice leaves one of them: she still reads the run at the other.
  await atA.end();
  await pollUntil(() => cancelled.length === 1, "ABANDONED of pod-a");
  assert.deepEqual([cancelled[0], run.ended], [{ user: "alice", runs: ["r1"], cancelled: [], bridge: "pod-a" }, false]);
  await runtime.emit("alice", "mark");
  await atB.type("mark");
  assert.deepEqual(atB.types().sort(), ["agent_started", "answer", "mark"]); // an answer takes another way than events
  await runtime.kick("alice");
  assert.equal((await atB.closed()).code, 4009);
  await pollUntil(() => cancelled.length === 2, "ABANDONED of pod-b");
  assert.deepEqual([cancelled[1].cancelled, run.outcome], [["r1"], "cancelled"]);
});

test("a bridge that is killed and comes back finds the runtime, and the run goes on", async (t) => {
  const stack = new Stack(t);
  const { runtime, bridge, client } = await stack.all();
  const greeted = [];
  runtime.on("bridge", ({ name }) => greeted.push(name));
  const run = await runtime.startRun("alice");
  await client.type("agent_started");
  await pollUntil(() => runtime.connections.length === 1, "CONNECT");
  const [old] = runtime.connections;
  await bridge.end("SIGKILL");
  await client.closed();
  await run.emit("count", { n: 0 }); // to nobody
  await bridge.start();
  await bridge.ready();
  const again = await stack.client(bridge);
  assert.deepEqual(greeted, ["test-bridge"]);
  await pollUntil(() => runtime.connections.length === 1 && runtime.connections[0] !== old, "the new CONNECT");
  await runtime.send(runtime.connections[0], { type: "welcome" });
  await again.type("welcome");
  await run.emit("count", { n: 1 });
  await run.complete("still here");
  assert.equal((await again.type("agent_completed")).final_response, "still here");
  assert.deepEqual(counted(again), [1]);
});

test("a bridge that is gone: commands for its connections are refused", async (t) => {
  const stack = new Stack(t);
  const { runtime, bridge } = await stack.all();
  await pollUntil(() => runtime.connections.length === 1, "CONNECT");
  const [connection] = runtime.connections;
  await bridge.end("SIGKILL");
  await pollUntil(() => runtime.send(connection, { type: "x" }).then(() => false, ({ code }) => code === "BRIDGE_GONE"), "BRIDGE_GONE");
});

test("stop: what was sent arrives even when the process ends at once", async (t) => {
  const stack = new Stack(t);
  const at = stack.endpoints();
  const program = `
    import { Runtime } from "@agentbridge/runtime";
    const runtime = await new Runtime(${JSON.stringify(at)}).start();
    process.stdin.once("data", async () => {
      const run = await runtime.startRun("alice");
      for (let n = 0; n < 5000; n++) run.emit("count", { n });
      await runtime.stop();
      process.exit(0);
    });
    console.log("up");`;
  const child = stack.program(["--input-type=module", "-e", program], { cwd: new URL("..", import.meta.url) });
  await child.until(() => child.out.length, "the program");
  const bridge = await stack.bridge({ at: { "runtime-commands": `>${at.commands}`, "runtime-events": `>${at.events}` } }, ROOMY);
  const client = await stack.client(bridge);
  child.child.stdin.write("go\n");
  const end = await client.type("agent_error");
  assert.deepEqual([end.error_code, end.error_message], ["CANCELLED", "The agent is shutting down."]);
  assert.deepEqual(counted(client), upTo(5000));
  assert.deepEqual(await within(child.exit, "the program's end"), { code: 0, signal: null });
});

test("stop with a grace: open runs end by themselves, new messages are refused", async (t) => {
  const stack = new Stack(t);
  const door = gate();
  const { runtime, client } = await stack.all({ prepare: (runtime) => runtime.on("message", (message) =>
    runtime.run(message.user, async (run) => {
      await door.promise;
      await run.thinking("just in time");
      return "well";
    })) });
  client.say({ type: "go" });
  await client.type("agent_started");
  const stopping = runtime.stop({ graceMs: 3_600_000 });
  await assert.rejects(runtime.startRun("alice"), { code: "NOT_RUNNING", message: "the runtime is stopping: it starts no runs" });
  client.say({ type: "go", message_id: "m3" });
  const { error_code, details } = await client.type("error_message");
  assert.deepEqual([error_code, details, runtime.stats.messagesRefused], ["RUNTIME_UNAVAILABLE", { message_id: "m3" }, 1]);
  door.open();
  await stopping;
  await client.type("agent_completed");
  assert.deepEqual(client.events().filter(({ run_id }) => run_id).map(({ type }) => type), ["agent_started", "agent_thinking", "agent_completed"]);
  assert.equal(runtime.stop(), runtime.stop());
  await assert.rejects(runtime.emit("alice", "x"), { code: "NOT_RUNNING" });
  await assert.rejects(runtime.kick("alice"), { code: "NOT_RUNNING" });
});

test("stop: a run that outlasts the grace is cancelled", async (t) => {
  const stack = new Stack(t);
  const { runtime, client } = await stack.all();
  const run = await runtime.startRun("alice");
  await within(runtime.stop({ graceMs: 20 }), "stop");
  assert.deepEqual([run.outcome, run.signal.aborted], ["cancelled", true]);
  assert.equal((await client.type("agent_error")).error_code, "CANCELLED");
});

function certificate(path, { publicKey, secretKey }) {
  writeFileSync(path, `metadata\ncurve\n    public-key = "${publicKey}"\n${secretKey ? `    secret-key = "${secretKey}"\n` : ""}`, { mode: 0o600 });
  return path;
}

test("CURVE: the bridge with the right key is let in, others are not", async (t) => {
  const stack = new Stack(t);
  const [ours, theirs, strangers] = [curveKeyPair(), curveKeyPair(), curveKeyPair()];
  const bridgeFile = certificate(stack.path("bridge"), theirs);
  assert.deepEqual(readCertificate(bridgeFile), theirs);
  const runtime = await stack.runtime({ curve: { ...ours, peerKeys: [readCertificate(bridgeFile).publicKey] } });
  runtime.on("message", (message) => runtime.run(message.user, () => "secured"));
  const runtimeFile = certificate(stack.path("runtime"), { publicKey: ours.publicKey });
  const stranger = await stack.bridge(runtime, { "curve-secret-file": certificate(stack.path("stranger"), strangers), "curve-runtime-file": runtimeFile }, false);
  await pollUntil(() => runtime.stats.peersRefused > 0, "a refusal");
  assert.equal((await fetch(stranger.url("admin", "/readyz"))).status, 503);
  const bridge = await stack.bridge(runtime, { "curve-secret-file": bridgeFile, "curve-runtime-file": runtimeFile });
  const client = await stack.client(bridge);
  client.say({ type: "go" });
  assert.equal((await client.type("agent_completed")).final_response, "secured");
});

test("CURVE: a runtime that connects knows the bridge by its key", async (t) => {
  const stack = new Stack(t);
  const [ours, theirs] = [curveKeyPair(), curveKeyPair()];
  const at = stack.endpoints();
  const files = { "curve-secret-file": certificate(stack.path("bridge"), theirs), "curve-runtime-file": certificate(stack.path("runtime"), { publicKey: ours.publicKey }) };
  const bridge = await stack.bridge(null, { "runtime-commands": `@${at.commands}`, "runtime-events": `@${at.events}`, ...files }, false);
  const runtime = await stack.runtime({ commands: `>${at.commands}`, events: `>${at.events}`, curve: { ...ours, peerKeys: [theirs.publicKey] } });
  await bridge.ready();
  const client = await stack.client(bridge);
  await runtime.emit("alice", "hello");
  await client.type("hello");
});

test("stop: messages that wait for a handler are refused, not forgotten", async (t) => {
  const stack = new Stack(t);
  const began = gate();
  const { runtime, client } = await stack.all({ runtime: { maxHandlers: 1 }, prepare: (runtime) => runtime.on("message", (message) =>
    runtime.run(message.user, (run) => new Promise((_, reject) => {
      began.open();
      run.signal.addEventListener("abort", () => reject(run.signal.reason));
    }))) });
  for (const message_id of ["m1", "m2", "m3"]) client.say({ type: "go", message_id });
  await within(began.promise, "the first handler");
  await pollUntil(() => runtime.stats.handlersWaiting === 2, "the others");
  await runtime.stop();
  await client.type("agent_error");
  assert.deepEqual(client.messages.filter(({ type }) => type === "error_message").map(({ details }) => details.message_id), ["m2", "m3"]);
  assert.deepEqual([runtime.stats.messagesRefused, runtime.stats.handlersRunning, runtime.stats.handlersWaiting], [2, 0, 0]);
});

test("a bridge that died keeps nobody's runs alive", async (t) => {
  const stack = new Stack(t);
  const runtime = await stack.runtime();
  const abandoned = [];
  runtime.on("abandoned", (event) => abandoned.push(event));
  const [a, b] = await Promise.all(["pod-a", "pod-b"].map((id) => stack.bridge(runtime, { "bridge-id": id, "abandon-grace-s": 1 })));
  await stack.client(a);
  const atB = await stack.client(b);
  await pollUntil(() => runtime.connections.length === 2, "both connections");
  const run = await runtime.startRun("alice");
  await atB.type("agent_started");
  await a.end("SIGKILL");
  await atB.end();
  await pollUntil(() => abandoned.length === 1, "ABANDONED of pod-b");
  assert.deepEqual([abandoned[0].cancelled, run.outcome, runtime.connections], [[run.id], "cancelled", []]);
});
