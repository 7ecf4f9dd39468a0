/* The client against a real bridge that lives; a runtime that does what the test says; cut and swallowed connections. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { encode } from "@msgpack/msgpack";
import { after, before, test } from "node:test";
import { Stack, token } from "./harness/stack.js";
import { until } from "./harness/wait.js";

const vectors = (name) => JSON.parse(readFileSync(new URL(`../../../../proto/vectors/${name}.json`, import.meta.url)));
const code = (expected) => (fault) => fault.code === expected;
const stack = new Stack({ after: () => {} });
let runtime, users = 0;

before(async () => {
  runtime = await stack.startRuntime();
  await stack.startBridge({ "history-events": 20, "max-connections-per-user": 3 });
});
after(() => stack.finish());

/** A client of a user of its own. */
async function join({ user = `user-${++users}`, ...options } = {}) {
  const socket = await stack.online({ token: async () => token(user), ...options });
  const emit = (type, fields) => runtime.emit(user, { type, run_id: "r", ...fields });
  return { user, socket, emit, seen: socket.seen };
}

/** What the runtime got of a user. */
const theirMessages = (user) => runtime.commands.filter(({ command, user_id }) => command === "MESSAGE" && user_id === user)
  .map(({ headers, body }) => (headers.opcode === "binary" ? { n: [...body] } : JSON.parse(body)));

const numbers = (events) => events.map(({ n }) => n);

test("connections cut in the middle of a run: every event once, in order, nothing to fetch", async () => {
  const { socket, emit, seen } = await join();
  emit("agent_started", { n: 0 });
  for (let n = 1; n <= 30; n++) {
    emit("x", { n });
    if (n % 10 === 5) {
      await until(() => seen.events.length > n - 3);
      stack.proxy.cut();
    }
  }
  emit("agent_completed", { n: 31 });
  const run = await until(() => socket.runs.get("r"));
  assert.equal((await run.done).n, 31);
  assert.deepEqual(numbers(seen.events), [...Array(32).keys()]);
  assert.deepEqual(numbers(run.events), [...Array(32).keys()]);
  assert.equal(socket.stats.connections, 4);
  assert.deepEqual([seen.resyncs, seen.faults], [[], []]);
  assert.equal(run.gaps, 0);
  socket.close();
});

test("away for longer than the bridge remembers: the client is told, and iterating the run ends where events are missing", async () => {
  const { user, socket, emit, seen } = await join();
  emit("agent_started", { n: 0 });
  const run = await until(() => socket.runs.get("r"));
  const read = (async () => {
    const events = [];
    try {
      for await (const event of run) events.push(event.n);
    } catch (fault) {
      events.push(fault.code);
    }
    return events;
  })();
  const { target } = stack.proxy;
  stack.proxy.target = 1;
  stack.proxy.cut();
  await until(() => socket.state === "reconnecting");
  const watcher = await stack.online({ url: `ws://127.0.0.1:${target}/ws`, token: async () => token(user) });
  for (let n = 1; n <= 30; n++) emit("x", { n });
  await until(() => watcher.seen.events.length === 30);
  watcher.close();
  stack.proxy.target = target;
  await until(() => socket.state === "online");
  assert.deepEqual(seen.resyncs.map(({ reason, runs, before, cursor }) => [reason, runs, before.offset, cursor]),
    [["expired", [run], 1, { epoch: seen.resyncs[0].before.epoch, offset: 31 }]]);
  emit("agent_completed", { n: 31 });
  assert.equal((await run.done).n, 31);
  assert.deepEqual(numbers(seen.events), [0, 31]);
  assert.deepEqual(await read, [0, "EVENTS_LOST"]);
  assert.deepEqual([socket.stats.resyncs, run.gaps, run.status], [1, 1, "completed"]);
  socket.close();
});

test("events that the runtime lost for good: resync, and the connection lives on", async () => {
  const { socket, emit, seen } = await join();
  const other = await join();
  const { id } = socket.connection;
  emit("agent_started", { n: 0 });
  await until(() => socket.runs.get("r"));
  runtime.lose(other.user);
  await until(() => seen.resyncs.length === 1);
  emit("x", { n: 1 });
  await until(() => seen.events.length === 2);
  assert.deepEqual([seen.resyncs[0].reason, seen.resyncs[0].runs[0].id], ["events_lost", "r"]);
  assert.notEqual(seen.resyncs[0].before.epoch, socket.cursor.epoch);
  assert.equal(socket.connection.id, id);
  stack.proxy.cut();
  await until(() => socket.stats.connections === 2);
  assert.equal(seen.resyncs.length, 1); // the new epoch was remembered
  for (const each of [socket, other.socket]) each.close();
});

test("a client that joins later gets the runs in progress, and follows them from there", async () => {
  const { user, socket, emit } = await join();
  emit("agent_started", { thread_id: "t", agent_name: "demo" });
  emit("tool_executing", { tool_name: "calc", execution_id: "e" });
  await until(() => socket.stats.events === 2);
  const late = await join({ user });
  const run = await until(() => late.socket.runs.get("r"));
  assert.deepEqual([run.joined, run.status, run.threadId, run.agentName, run.lastType, [...run.openTools.keys()], run.events],
    [true, "running", "t", "demo", "tool_executing", ["e"], []]);
  emit("agent_completed", { n: 1 });
  const events = [];
  for await (const event of run) events.push(event.type);
  assert.deepEqual(events, ["agent_completed"]);
  for (const each of [socket, late.socket]) each.close();
});

test("a cursor goes from one socket to the next", async () => {
  const { user, socket, emit, seen } = await join();
  emit("x", { n: 1 });
  await until(() => seen.events.length === 1);
  const { cursor } = socket;
  socket.close();
  emit("x", { n: 2 });
  const next = await join({ user, cursor });
  await until(() => next.seen.events.length === 1);
  assert.deepEqual([numbers(next.seen.events), next.seen.resyncs], [[2], []]);
  next.socket.close();
  const wrong = await join({ user, cursor: { epoch: "another", offset: 7 } });
  await until(() => wrong.seen.resyncs.length === 1);
  assert.deepEqual([wrong.seen.resyncs[0].reason, wrong.seen.resyncs[0].before], ["unknown_epoch", { epoch: "another", offset: 7 }]);
  wrong.socket.close();
});

test("what is sent while away waits, in order, and what was on the wire is unconfirmed", async () => {
  const { user, socket } = await join();
  const theirs = () => numbers(theirMessages(user));
  assert.deepEqual(await socket.send({ type: "say", n: 1, message_id: "mine" }), { id: "mine", confirmed: true });
  await until(() => theirs().length === 1);
  stack.proxy.swallow();
  const lost = assert.rejects(socket.send({ type: "say", n: 2 }), code("UNCONFIRMED"));
  stack.proxy.cut();
  await lost;
  stack.proxy.swallow(false);
  await assert.rejects(socket.send({ type: "say", n: 3 }, { buffer: false }), code("OFFLINE"));
  const stop = new AbortController();
  const sent = [socket.send({ type: "say", n: 4 }), assert.rejects(socket.send({ type: "say", n: 5 }, { signal: stop.signal }), code("WITHDRAWN")),
    socket.sendBinary(new Uint8Array([9, 8])), socket.send({ type: "say", n: 6 })];
  stop.abort();
  await Promise.all(sent);
  await until(() => theirs().length === 4);
  assert.deepEqual(theirs(), [1, 4, [9, 8], 6]);
  assert.deepEqual([socket.stats.unsettledSends, socket.stats.unsettledBytes], [0, 0]);
  await assert.rejects(socket.send({ type: "say", text: "x".repeat(65_536) }), code("TOO_BIG"));
  await assert.rejects(socket.send({ text: "no type" }), code("BAD_MESSAGE"));
  socket.close();
  await assert.rejects(socket.send({ type: "say" }), code("CLOSED"));
});

test("too much waiting is refused", async () => {
  const { socket } = await join({ maxSends: 2, maxSendBytes: 300 });
  stack.proxy.swallow();
  const sends = [1, 2, 3].map((n) => socket.send({ type: "say", n }).then(() => "sent", (fault) => fault.code));
  stack.proxy.cut();
  stack.proxy.swallow(false);
  assert.deepEqual(await Promise.all(sends), ["UNCONFIRMED", "UNCONFIRMED", "OVERFLOW"]);
  await assert.rejects(socket.send({ type: "say", text: "x".repeat(300) }), code("OVERFLOW"));
  socket.close();
});

test("over the rate limit exactly the refused ones are rejected", async () => {
  const { user, socket } = await join({ maxSends: 200 });
  const sends = [...Array(100).keys()].map((n) => socket.send({ type: "say", n, message_id: String(n) })
    .then(() => "sent", (fault) => fault.code));
  const fates = await Promise.all(sends);
  const handedOver = [...fates.keys()].filter((n) => fates[n] === "sent");
  await until(() => theirMessages(user).length >= handedOver.length);
  assert.deepEqual(theirMessages(user).map(({ n }) => n), handedOver);
  assert.deepEqual(new Set(fates), new Set(["sent", "RATE_LIMITED"]));
  assert.deepEqual(socket.seen.faults, []);
  socket.close();
});

test("a line that is dead without a word is noticed", async () => {
  let pongs = 0;
  const parse = (text) => {
    const frame = JSON.parse(text);
    pongs += frame.type === "pong";
    return frame;
  };
  const { socket, seen } = await join({ heartbeatMs: 20, pongTimeoutMs: 60_000, parse });
  await until(() => pongs >= 3);
  assert.deepEqual(seen.states, ["online"]);
  socket.close();
  const { socket: other } = await join({ heartbeatMs: 200, pongTimeoutMs: 200 });
  const ended = new Promise((resolve) => other.once("state", resolve));
  stack.proxy.swallow();
  const status = await ended;
  stack.proxy.swallow(false);
  assert.deepEqual([status.state, status.code, status.reason], ["reconnecting", 1006, "no answer to a ping"]);
  await until(() => other.state === "online");
  other.close();
});

test("the browser's word on the network: offline is shown, online hastens the next try", async () => {
  const page = Object.assign(new EventTarget(), { navigator: { onLine: true } });
  const { socket, seen } = await join({ page, minDelayMs: 60_000, maxDelayMs: 60_000, clock: { random: () => 1 } });
  const { target } = stack.proxy;
  stack.proxy.target = 1;
  stack.proxy.cut();
  await until(() => socket.status.nextAttemptAt - Date.now() > 50_000);
  page.navigator.onLine = false;
  page.dispatchEvent(new Event("offline"));
  assert.equal(socket.state, "offline");
  stack.proxy.target = target;
  page.navigator.onLine = true;
  page.dispatchEvent(new Event("online"));
  await until(() => socket.state === "online");
  assert.deepEqual(seen.states.slice(-3), ["offline", "reconnecting", "online"]);
  socket.close();
  page.dispatchEvent(new Event("online"));
  assert.equal(socket.state, "closed");
});

test("the runtime closes and kicks: for good; with a code of its own it is tried again, unless comeBack says no", async () => {
  const close = async ({ socket, user }, number, reason) => {
    const ended = new Promise((resolve) => socket.once("state", resolve));
    runtime.send("CLOSE", socket.connection.id, user, { code: number, reason });
    return ended;
  };
  const one = await join();
  const { state, code: last, reason } = await close(one, 1000, "that was all");
  assert.deepEqual([state, last, reason], ["closed", 1000, "that was all"]);
  const two = await join();
  assert.equal((await close(two, 4001, "")).state, "reconnecting");
  await until(() => two.socket.state === "online");
  two.socket.close();
  const asked = [];
  const three = await join({ comeBack: (end) => (asked.push(end), false) });
  assert.equal((await close(three, 4001, "enough")).state, "failed");
  assert.deepEqual(asked, [{ code: 4001, reason: "enough", why: "enough", again: true }]);
  const four = await join();
  const ended = new Promise((resolve) => four.socket.once("state", resolve));
  runtime.send("KICK", "", four.user, { reason: "abuse" });
  assert.deepEqual([(await ended).state, four.socket.status.code, four.socket.status.reason], ["failed", 4009, "abuse"]);
  four.socket.connect();
  await until(() => four.socket.state === "online");
  four.socket.close();
});

test("a connection too many is tried again after a pause", async () => {
  const first = await join();
  const { user } = first;
  const others = [await join({ user }), await join({ user })];
  const late = stack.client({ token: async () => token(user) });
  await until(() => late.status.reason === "USER_CONNECTION_LIMIT");
  assert.equal(late.status.code ?? 1013, 1013);
  first.socket.close();
  await until(() => late.state === "online");
  for (const { socket } of others) socket.close();
  late.close();
});

test("frames that are no events", async () => {
  const { user, socket, seen } = await join();
  const send = (opcode, body) => runtime.send("SEND", socket.connection.id, user, opcode ? { opcode } : {}, body);
  send("text", Buffer.from("not JSON"));
  await until(() => seen.faults.length === 1);
  assert.equal(seen.faults[0].code, "UNREAD_FRAME");
  const frames = [];
  socket.on("frame", (data) => frames.push(typeof data === "string" ? data : [...new Uint8Array(data)]));
  send("text", Buffer.from("[1]"));
  send("binary", Buffer.from([1, 2, 255]));
  await until(() => frames.length === 2);
  assert.deepEqual(frames, ["[1]", [1, 2, 255]]);
  assert.deepEqual([socket.stats.unreadFrames, seen.events], [1, []]);
  socket.close();
});

test("an event whose offset has been seen is left out, and counted", async () => {
  const { user, socket, emit, seen } = await join();
  emit("x", { n: 1 });
  const { _offset } = await until(() => seen.events[0]);
  const send = (event) => runtime.send("SEND", socket.connection.id, user, { opcode: "text" }, Buffer.from(JSON.stringify(event)));
  send({ type: "x", n: "again", _offset });
  send({ type: "x", n: "to this connection alone" });
  send({ type: "resync", n: "an event by that name", _offset: _offset + 1 });
  await until(() => seen.events.length === 3);
  assert.deepEqual(numbers(seen.events), [1, "to this connection alone", "an event by that name"]);
  assert.deepEqual([socket.stats.repeats, seen.resyncs, socket.cursor.offset], [1, [], _offset + 1]);
  socket.close();
});

test("a listener may close the socket at any moment", async () => {
  const { socket, emit, seen } = await join();
  socket.on("event", () => socket.close());
  emit("agent_started");
  emit("x");
  await until(() => socket.state === "closed");
  socket.connect();
  socket.once("state", () => socket.close());
  await until(() => socket.state === "closed");
  assert.equal(seen.events.length, 1);
});

test("vectors: what the bridge says", async () => {
  for (const { name, json, message } of vectors("client")) {
    const { user, socket, seen } = await join();
    const said = [];
    for (const kind of ["resync", "snapshot", "error", "event", "state"]) socket.on(kind, (value) => said.push([kind, value]));
    runtime.send("SEND", socket.connection.id, user, { opcode: "text" }, Buffer.from(json));
    runtime.send("SEND", socket.connection.id, user, {}, encode({ type: "marker" }));
    await until(() => seen.events.some(({ type }) => type === "marker"), name);
    check(name, message, said, socket);
    socket.close();
  }
});

/** What a frame of the vectors must have led to. */
function check(name, message, said, socket) {
  const values = (kind) => said.filter(([other]) => other === kind).map(([, value]) => value);
  const { type, data } = message;
  if (type === "resync") assert.deepEqual(values("resync").map(({ reason }) => reason), [data.reason], name);
  if (type === "resync" || (type === "connection_established" && !data.recovered)) assert.equal(socket.cursor.epoch, data.resume.epoch, name);
  if (type === "runs_snapshot") assert.deepEqual([values("snapshot"), socket.runs.size], [[data.runs], data.runs.length], name);
  if (type === "error_message") assert.deepEqual(values("error").map((fault) => fault.code), [message.error_code], name);
  if (type === "bridge_draining") assert.equal(socket.status.draining, true, name);
  if (["an event", "run_stalled", "runtime lost"].includes(name)) assert.deepEqual(values("event")[0], message, name);
  assert.equal(socket.state, "online", name);
}

test("vectors: events", async (t) => {
  const hex = (text) => Buffer.from(text, "hex");
  for (const { name, user, json, frames } of vectors("events")) {
    const expected = JSON.parse(json);
    const bytes = [hex(frames[0]), hex(frames[1])]; // without meta: the cases do not count on
    await t.test(name, async () => {
      const { socket, seen } = await join({ user });
      // one that is narrowed to a connection is narrowed to this one
      if (expected.connection_id) bytes[1] = encode(Object.assign(expected, { connection_id: socket.connection.id }));
      runtime.emit(user, { type: "agent_started", run_id: "run_1" }); // it may have ended
      runtime.publish(bytes);
      const { _offset, ...event } = await until(() => seen.events[1]);
      socket.close();
      assert.deepEqual(event, expected);
      assert.equal(_offset ?? null, expected.connection_id ? null : socket.cursor.offset);
    });
  }
});
