import assert from "node:assert/strict";
import test from "node:test";
import { Dealer, Publisher, Subscriber } from "zeromq";
import { Runtime } from "../src/index.js";
import { encode, decode } from "../src/msgpack.js";
import { Replay } from "../src/publisher.js";
import { pollUntil, Stack, within } from "./harness.js";

/** Runtime and bridge with a lossy stretch between PUB and SUB: `lose(event)` says which events vanish there. */
async function lossy(stack, options, lose) {
  const runtime = await stack.runtime(options);
  const outside = stack.endpoints().events;
  const [from, to] = [new Subscriber({ linger: 0 }), new Publisher({ linger: 0, sendHighWaterMark: 0 })];
  from.subscribe();
  from.connect(runtime.at["runtime-events"].slice(1));
  await to.bind(outside);
  const forward = (async () => {
    for await (const frames of from) if (!lose(decode(frames[1]))) await to.send(frames);
  })();
  stack.defer(async () => { from.close(); await forward; to.close(); });
  runtime.at["runtime-events"] = `>${outside}`;
  const bridge = await stack.bridge(runtime, { "queue-messages": 20_000, "queue-bytes": 16 << 20 });
  const client = await stack.client(bridge, "alice");
  await pollUntil(async () => {
    await runtime.emit("alice", "probe");
    return client.messages.some(({ type }) => type === "probe");
  }, "the way to be open");
  return { runtime, bridge, client };
}

test("what is lost on the way is fetched again, once and in order", async (t) => {
  const stack = new Stack(t);
  const { runtime, bridge, client } = await lossy(stack, {}, ({ type, n }) => type === "count" && n % 7 === 3);
  const before = [runtime.stats.eventsReplayed, await bridge.metric("agentbridge_events_lost_total")];
  for (let n = 0; n < 700; n++) await runtime.emit("alice", "count", { n });
  await runtime.emit("alice", "mark");
  await client.type("mark");
  assert.deepEqual(client.events().filter(({ type }) => type === "count").map(({ n }) => n), Array.from({ length: 700 }, (_, n) => n));
  assert.deepEqual([runtime.stats.eventsReplayed - before[0] >= 100, runtime.stats.eventsLost], [true, 0]);
  assert.equal(await bridge.metric("agentbridge_events_lost_total"), before[1]);
});

test("what is no longer held is said to be lost, and the client is told", async (t) => {
  const stack = new Stack(t);
  let losing = false;
  const { runtime, bridge, client } = await lossy(stack, { replayEvents: 5 }, ({ type }) => losing && type === "count");
  losing = true;
  const before = [runtime.stats.eventsReplayed, runtime.stats.eventsLost, await bridge.metric("agentbridge_events_lost_total")];
  for (let n = 0; n < 20; n++) await runtime.emit("alice", "count", { n });
  await runtime.emit("alice", "mark");
  await client.type("mark");
  const kinds = client.messages.map(({ type, n }) => n ?? type).filter((kind) => kind !== "probe" && kind !== "connection_established");
  assert.deepEqual(kinds, ["resync", 16, 17, 18, 19, "mark"]); // five held: the mark and the four before it
  assert.deepEqual([runtime.stats.eventsReplayed - before[0], runtime.stats.eventsLost - before[1]], [4, 16]);
  assert.equal(await bridge.metric("agentbridge_events_lost_total") - before[2], 16);
  assert.ok(stack.logs.some((line) => line.includes("which are no longer held (replayEvents, replayBytes)")));
});

/** Asks the way a bridge does. */
async function asker(stack, options) {
  const runtime = await stack.runtime(options);
  const dealer = new Dealer({ routingId: "pod-7", linger: 0 });
  stack.defer(async () => dealer.close());
  dealer.connect(runtime.at["runtime-commands"].slice(1));
  const ask = (publisher, from, to) => dealer.send(["REPLAY", "", "", encode({ publisher, from, to }), ""]);
  const answer = async () => {
    const [command, , user, headers, body] = await within(dealer.receive(), "an answer");
    const { from, to, seq, publisher } = decode(headers);
    return { command: command.toString(), user: user.toString(), publisher, at: seq ?? [from, to], n: body.length ? decode(body).n : undefined };
  };
  return { runtime, ask, answer };
}

test("REPLAY: the arithmetic", async (t) => {
  const { runtime, ask, answer } = await asker(new Stack(t), { replayEvents: 3 });
  for (let n = 1; n <= 5; n++) await runtime.emit("ålice", "count", { n });
  const { publisher } = runtime;
  const event = (n) => ({ command: "EVENT", user: "ålice", publisher, at: n, n });
  const lost = (from, to, name = publisher) => ({ command: "LOST", user: "", publisher: name, at: [from, to], n: undefined });
  for (const [from, to, expected] of [[1, 5, [lost(1, 2), event(3), event(4), event(5)]], [4, 4, [event(4)]], [1, 1, [lost(1, 1)]], [2, 2n ** 64n - 1n, [lost(2, 2), event(3), event(4), event(5)]]]) {
    await ask(publisher, from, to);
    for (const each of expected) assert.deepEqual(await answer(), each);
  }
  await ask(publisher, 6, 9); // not sent yet: nothing to say
  await ask("somebody_else", 1, 2n ** 60n);
  assert.deepEqual(await answer(), lost(1, 2n ** 60n, "somebody_else"));
});

test("HELLO: the answer says who speaks and how far it is", async (t) => {
  const stack = new Stack(t);
  const runtime = await stack.runtime({ name: "greeter" });
  const dealer = new Dealer({ routingId: "pod-7", linger: 0 });
  stack.defer(async () => dealer.close());
  dealer.connect(runtime.at["runtime-commands"].slice(1));
  await runtime.emit("alice", "first");
  await dealer.send(["HELLO", "", "", encode({ protocol: 2, bridge: "pod-7" }), ""]);
  const [command, connection, user, headers, body] = await within(dealer.receive(), "HELLO");
  assert.deepEqual([command.toString(), connection.length, user.length, body.length], ["HELLO", 0, 0, 0]);
  assert.deepEqual(decode(headers), { protocol: 1, runtime: "greeter", publisher: runtime.publisher, seq: 1, sdk: "agentbridge-node/0.1.0" });
  assert.match(runtime.publisher, /^greeter_[0-9a-f]{16}$/);
  assert.deepEqual(stack.logs, ['warn: bridge "pod-7" speaks protocol 2, this package 1']);
});

test("the replay buffer is bounded in events and bytes, without gaps", () => {
  const replay = new Replay(3000, 100_000);
  const add = (length) => replay.add(Buffer.from("u"), Buffer.alloc(length - 1));
  assert.deepEqual([replay.length, replay.oldest, replay.bytes], [0, 1, 0]);
  for (let i = 1; i <= 10_000; i++) {
    add(10);
    assert.deepEqual([replay.length, replay.bytes], [Math.min(i, 3000), Math.min(i, 3000) * 10]);
  }
  assert.deepEqual([replay.oldest, replay.get(replay.oldest).body.length, replay.get(10_000).body.length], [7001, 9, 9]);
  add(75_000);
  assert.deepEqual([replay.length, replay.bytes, replay.oldest, replay.get(10_001).body.length], [2501, 100_000, 7501, 74_999]);
  add(100_001); // more than may be held at all
  assert.deepEqual([replay.length, replay.bytes, replay.oldest], [0, 0, 10_003]);
  add(10);
  assert.deepEqual([replay.length, replay.oldest, replay.get(10_003).body.length], [1, 10_003, 9]);
});

test("without await there is a limit, which names itself; an end passes it", async (t) => {
  const stack = new Stack(t);
  const { runtime, client } = await stack.all({ runtime: { sendQueue: 50 } });
  const run = await runtime.startRun("alice");
  await new Promise(setImmediate);
  const results = await Promise.allSettled(Array.from({ length: 60 }, (_, n) => run.emit("count", { n })).concat(run.complete("end")));
  const refused = results.filter(({ status }) => status === "rejected");
  assert.equal(refused.length, 10);
  assert.ok(refused.every(({ reason }) => reason.code === "QUEUE_FULL" && /await every emit/.test(reason.message)));
  assert.deepEqual([runtime.stats.eventsRefused, runtime.stats.callsRefused], [10, 10]);
  await client.type("agent_completed");
  assert.deepEqual(client.events().filter(({ type }) => type === "count").map(({ n }) => n), Array.from({ length: 50 }, (_, n) => n));
});

test("a bridge that does not read: what was accepted arrives in order, what was not is refused", async (t) => {
  const stack = new Stack(t);
  const runtime = await stack.runtime({ commandQueue: 20 });
  const dealer = new Dealer({ routingId: "slow", linger: 0, receiveHighWaterMark: 1 });
  stack.defer(async () => dealer.close());
  dealer.connect(runtime.at["runtime-commands"].slice(1));
  await dealer.send(["CONNECT", "ws_0123456789ab", "alice", encode({ subprotocol: "agent_chat" }), ""]);
  await pollUntil(() => runtime.connections.length === 1, "CONNECT");
  const sent = [];
  let full = null;
  for (let n = 0; !full && n < 5000; n++) {
    const sending = runtime.sendFrame(runtime.connections[0], Buffer.alloc(50_000, n & 0xff));
    sending.then(() => {}, (error) => { full = error; });
    sent.push(sending);
    await new Promise(setImmediate);
  }
  assert.deepEqual([full.code, runtime.stats.commandsRefused], ["QUEUE_FULL", 1]);
  for (let n = 0; n < sent.length - 1; n++) assert.equal((await within(dealer.receive(), `frame ${n}`))[4][0], n & 0xff);
  assert.equal((await Promise.allSettled(sent)).filter(({ status }) => status === "rejected").length, 1);
});

test("options: what is wrong is said with its name", () => {
  const refused = (options, message) => assert.throws(() => new Runtime(options), { code: "BAD_ARGUMENT", message });
  refused({ comands: "x" }, /^"comands" is no option; there are commands, events, name/);
  refused({ replayEvents: 0 }, "replayEvents: a whole number from 1 to 10000000");
  refused({ name: "" }, "name: 1 to 64 characters");
  refused({ log: "x" }, "log: a function (level, text)");
  refused({ curve: { publicKey: "x" } }, /^curve: publicKey, secretKey and peerKeys/);
});

test("endpoints: bind, connect, several, and those that are refused", async (t) => {
  const stack = new Stack(t);
  const [taken, free] = await stack.ports(2);
  const runtime = await stack.runtime({ commands: `@tcp://127.0.0.1:${taken},@${stack.endpoints().commands}`, events: `tcp://127.0.0.1:*` });
  assert.equal(runtime.endpoints.commands[0], `tcp://127.0.0.1:${taken}`);
  assert.match(runtime.endpoints.events[0], /^tcp:\/\/127\.0\.0\.1:\d+$/);
  const refused = async (options, message) => {
    const other = new Runtime({ events: "@tcp://127.0.0.1:*", ...options });
    await assert.rejects(other.start(), { code: "BAD_ARGUMENT", message });
    await other.stop();
  };
  await refused({ commands: `@tcp://127.0.0.1:${taken}` }, /^commands: cannot bind tcp:.*another runtime has it/);
  await refused({ commands: `@tcp://0.0.0.0:${free}` }, /needs the option curve/);
  await refused({ commands: `@tcp://127.evil.example:${free}` }, /needs the option curve/);
  await refused({ commands: "127.0.0.1:5555" }, /is no endpoint; write tcp:/);
  await assert.rejects(runtime.start(), { code: "NOT_RUNNING" });
  const never = new Runtime();
  await assert.rejects(never.emit("alice", "x"), { code: "NOT_RUNNING" });
  await never.stop();
  await assert.rejects(never.start(), { code: "NOT_RUNNING" });
});
