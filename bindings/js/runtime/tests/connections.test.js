import assert from "node:assert/strict";
import test from "node:test";
import { decode } from "../src/msgpack.js";
import { gate, pollUntil, Stack } from "./harness.js";

/** A runtime that keeps what its handlers are given. */
function recording(runtime) {
  runtime.seen = [];
  for (const name of ["message", "connect", "disconnect", "abandoned"]) runtime.on(name, (subject) => runtime.seen.push([name, subject]));
}

test("connect, message, disconnect: what handlers are given", async (t) => {
  const stack = new Stack(t);
  const { runtime, client } = await stack.all({ user: "ålice", prepare: recording });
  client.say({ type: "hello", text: "hé" });
  client.say(new Uint8Array([0, 255]));
  client.socket.close(4001, "bye");
  await client.closed();
  await pollUntil(() => runtime.seen.length === 4, "four handlers' calls");
  const [[, connection], [, text], [, binary], [kind, gone]] = runtime.seen;
  const { connection_id, user_id } = client.established.data;
  assert.deepEqual([connection.id, connection.user, connection.bridge, connection.subprotocol, connection.claims.sub, connection.remote, connection.resumed],
                   [connection_id, user_id, "test-bridge", "agent_chat", "ålice", "127.0.0.1", false]);
  assert.equal(text.connection, connection);
  assert.deepEqual([text.seq, text.opcode, text.json(), text.text()], [1, "text", { type: "hello", text: "hé" }, '{"type":"hello","text":"hé"}']);
  assert.ok(Math.abs(text.time - Date.now() / 1000) < 60);
  assert.deepEqual([binary.seq, binary.opcode, binary.body], [2, "binary", Buffer.from([0, 255])]);
  assert.throws(() => binary.json(), { name: "AgentError", code: "BAD_MESSAGE", message: "The message is no JSON." });
  assert.deepEqual([kind, gone.connection, gone.user, gone.code, gone.reason, gone.remaining], ["disconnect", connection, "ålice", 4001, "bye", 0]);
  assert.deepEqual([connection.open, runtime.connections], [false, []]);
  await assert.rejects(runtime.send(connection, { type: "x" }), { code: "CONNECTION_GONE" });
});

test("back to one connection of a user, and to no other", async (t) => {
  const stack = new Stack(t);
  const { runtime, bridge, client } = await stack.all({ prepare: (runtime) => runtime.on("message", async (message) => {
    await runtime.send(message, { type: "note", text: "for you" });
    await runtime.sendFrame(message, "plain téxt");
    await runtime.sendFrame(message.connection, Buffer.from([1, 2]));
    await runtime.emit(message.user, "mark", { connection_id: message.connection.id });
    await runtime.close(message, { code: 4000, reason: "done" });
  }) });
  const other = await stack.client(bridge, "alice");
  client.say({ type: "go" });
  assert.deepEqual(await client.closed(), { code: 4000, reason: "done" });
  const note = client.messages.find(({ type }) => type === "note");
  assert.deepEqual([note.text, note.user_id, note.connection_id, "_offset" in note],
                   ["for you", "alice", client.established.data.connection_id, false]);
  assert.ok(client.messages.includes("plain téxt"));
  assert.deepEqual(client.frames, [Buffer.from([1, 2])]);
  await runtime.emit("alice", "all");
  await other.type("all");
  assert.deepEqual(other.types(), ["all"]);
  await assert.rejects(runtime.send({ id: client.established.data.connection_id }, { type: "x" }), { code: "BAD_ARGUMENT" });
  await assert.rejects(runtime.close(runtime.connections[0], { code: 1006 }), { code: "BAD_ARGUMENT", message: /^close code 1006/ });
  await assert.rejects(runtime.close(runtime.connections[0], { reason: "é".repeat(62) }), { code: "BAD_ARGUMENT" });
  await assert.rejects(runtime.sendFrame(runtime.connections[0], 7), { code: "BAD_ARGUMENT" });
  assert.equal(await bridge.metric("agentbridge_isolation_violations_total"), 0);
});

test("kick closes all of a user's connections", async (t) => {
  const stack = new Stack(t);
  const { runtime, bridge, client } = await stack.all();
  const [second, bob] = [await stack.client(bridge, "alice"), await stack.client(bridge, "bob")];
  await runtime.kick("alice", { reason: "signed out" });
  for (const kicked of [client, second]) assert.deepEqual(await kicked.closed(), { code: 4009, reason: "signed out" });
  assert.equal(bob.ended, null);
});

test("kick without a bridge is refused", async (t) => {
  const runtime = await new Stack(t).runtime();
  await assert.rejects(runtime.kick("alice"), { code: "BRIDGE_GONE" });
});

test("agent_chat.msgpack and raw clients", async (t) => {
  const stack = new Stack(t);
  const { bridge } = await stack.all({ prepare: (runtime) => runtime.on("message", async (message) => {
    if (message.connection.subprotocol === "raw") await runtime.sendFrame(message, message.body);
    else await runtime.run(message.user, async () => message.json().text);
  }) });
  const packed = await stack.client(bridge, "bob", { protocols: ["agent_chat.msgpack"], established: false });
  await packed.until(() => packed.frames.length === 1, "connection_established");
  packed.say(Buffer.from("82a474797065a3617361a474657874a2c3a9", "hex"));
  await packed.until(() => packed.frames.length === 3, "the run");
  assert.equal(decode(packed.frames[2]).final_response, "é");
  const raw = await stack.client(bridge, "carol", { protocols: ["raw"], established: false });
  raw.say(Buffer.from([7, 8]));
  await raw.until(() => raw.frames.length === 1, "the echo");
  assert.deepEqual(raw.frames, [Buffer.from([7, 8])]);
});

test("nobody reads: ABANDONED cancels the runs, unless told otherwise", async (t) => {
  for (const cancelAbandoned of [true, false]) {
    const stack = new Stack(t);
    const { runtime, client } = await stack.all({ runtime: { cancelAbandoned }, bridge: { "abandon-grace-s": 1 }, prepare: recording });
    const run = await runtime.startRun("alice", { runId: "r1" });
    await client.type("agent_started");
    await client.end();
    await pollUntil(() => runtime.seen.some(([name]) => name === "abandoned"), "ABANDONED");
    const [, abandoned] = runtime.seen.at(-1);
    assert.deepEqual(abandoned, { user: "alice", runs: ["r1"], cancelled: cancelAbandoned ? ["r1"] : [], bridge: "test-bridge" });
    assert.deepEqual([run.outcome, run.signal.aborted], cancelAbandoned ? ["cancelled", true] : [null, false]);
    if (!cancelAbandoned) await run.complete();
  }
});

test("handlers: so many at once, in the order of the messages, and beyond what may wait nothing is read", async (t) => {
  const stack = new Stack(t);
  const doors = Array.from({ length: 6 }, gate);
  const began = [];
  const { runtime, bridge, client } = await stack.all({ runtime: { maxHandlers: 2, maxWaiting: 2 }, prepare: (runtime) =>
    runtime.on("message", (message) => {
      began.push(message.seq);
      return doors[message.seq - 1].promise;
    }) });
  for (let i = 0; i < 6; i++) client.say({ type: "go", i });
  await pollUntil(() => runtime.stats.handlersWaiting === 2, "two that wait");
  assert.deepEqual([began, runtime.stats.handlersRunning], [[1, 2], 2]);
  await pollUntil(async () => await bridge.metric('agentbridge_runtime_commands_total{command="MESSAGE"}') === 6, "six on the way");
  for (let i = 0; i < 6; i++) {
    doors[i].open();
    await pollUntil(() => began.length === Math.min(6, i + 3), "the next one");
    assert.ok(runtime.stats.handlersRunning <= 2 && runtime.stats.handlersWaiting <= 2);
  }
  assert.deepEqual(began, [1, 2, 3, 4, 5, 6]);
});
