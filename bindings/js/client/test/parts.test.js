/* The parts that need no bridge: URLs, close codes, pauses, timers, buffers. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { AgentSocket, AgentSocketError, endsRun } from "../src/index.js";
import { Backoff } from "../src/backoff.js";
import { Emitter } from "../src/emitter.js";
import { Liveness } from "../src/liveness.js";
import { Outbox } from "../src/outbox.js";
import { Runs } from "../src/runs.js";
import { claimsOf, refreshAfterMs, TokenKeeper } from "../src/token.js";
import * as wire from "../src/wire.js";
import { ManualClock, settle } from "./harness/clock.js";
import { token } from "./harness/stack.js";

const vectors = JSON.parse(readFileSync(new URL("../../../../proto/vectors/handshake.json", import.meta.url)));
const code = (expected) => (fault) => fault instanceof AgentSocketError && fault.code === expected;

for (const { name, url, cursor, opened } of vectors.cursors)
  test(`vector, cursor: ${name}`, () => assert.equal(wire.urlWithCursor(wire.absoluteUrl(url), cursor), opened));

for (const { name, token: given, subprotocol, offered } of vectors.subprotocols)
  test(`vector, subprotocols: ${name}`, () => assert.deepEqual(wire.offered(given, subprotocol), offered));

for (const { code: number, again } of vectors.closes)
  test(`vector, close ${number}`, () => {
    if (typeof again === "boolean") {
      assert.equal(Boolean(wire.afterClose(number, "").again), again);
      return;
    }
    assert.equal(wire.afterClose(number, "", {}).again, false);
    assert.equal(wire.afterClose(number, "", { retryAllowed: false, errorCode: "VALIDATION_FAILED" }).again, false);
    assert.equal(wire.afterClose(number, "", { retryAllowed: true, errorCode: "AUTH_KEYS_UNAVAILABLE" }).again, "pause");
    assert.deepEqual(wire.afterClose(number, "", { tokenExpired: true }), { again: "now", why: "TOKEN_EXPIRED", newToken: true });
  });

test("a URL of http, or of the page's host, becomes one of WebSocket; others are refused", () => {
  assert.equal(wire.absoluteUrl("https://a.example/ws?x=1#top"), "wss://a.example/ws?x=1");
  assert.equal(wire.absoluteUrl("/ws", "http://localhost:8000/chat/"), "ws://localhost:8000/ws");
  assert.throws(() => wire.absoluteUrl("/ws", undefined), code("BAD_OPTION"));
  assert.throws(() => wire.absoluteUrl("ws://"), code("BAD_OPTION"));
});

test("options are checked, and the fault names them", () => {
  const make = (options) => () => new AgentSocket("ws://127.0.0.1:1/ws", { WebSocket: class {}, autoConnect: false, ...options });
  for (const [options, text] of [[{ tokens: "x" }, /"tokens"/], [{ maxSends: 0 }, /maxSends/], [{ minDelayMs: "x" }, /minDelayMs/],
    [{ subprotocol: "agent_chat.msgpack" }, /MessagePack/], [{ cursor: { epoch: "x" } }, /cursor/], [{ heartbeatMs: -1 }, /heartbeatMs/]])
    assert.throws(make(options), (fault) => fault.code === "BAD_OPTION" && text.test(fault.message));
  assert.throws(make({ token: "Bearer secret-token" }), (fault) => fault.code === "BAD_TOKEN" && !/secret/.test(fault.message));
  if (!globalThis.WebSocket) assert.throws(make({ WebSocket: undefined }), /install `ws`/);
});

test("pauses: the first try at once, then anywhere below a limit that doubles to thirty seconds", () => {
  const backoff = new Backoff({ minMs: 1000, maxMs: 30_000, random: () => 1 });
  assert.deepEqual([0, 0, 0, 0, 0, 0, 0, 0].map(() => backoff.next()), [0, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
  backoff.reset();
  assert.equal(backoff.next(true), 1000);
  assert.equal(new Backoff({ minMs: 1000, maxMs: 30_000, random: () => 0.25 }).next(true), 250);
});

test("the emitter: one listener's fault harms no other, and whoever takes itself off meanwhile is not missed", (t) => {
  const reported = t.mock.method(console, "error", () => {});
  const emitter = new Emitter();
  const heard = [];
  const off = emitter.on("x", (value) => (heard.push(["a", value]), off()));
  emitter.on("x", () => { throw new Error("on purpose"); });
  emitter.once("x", (value) => heard.push(["b", value]));
  assert.equal(emitter.emit("x", 1), true);
  emitter.emit("x", 2);
  assert.deepEqual(heard, [["a", 1], ["b", 1]]);
  assert.deepEqual(reported.mock.calls.map(({ arguments: [fault] }) => fault.message), ["on purpose", "on purpose"]);
  assert.equal(emitter.emit("y"), false);
  assert.throws(() => emitter.on("x"), TypeError);
});

test("liveness: a ping after silence, the end when nothing comes back; not while something comes", async () => {
  const clock = new ManualClock();
  const said = [];
  const liveness = new Liveness({ clock, timeoutMs: 10, ping: () => said.push("ping"), dead: () => said.push("dead") });
  liveness.start(100);
  await clock.advance(60);
  liveness.heard();
  await clock.advance(99);
  assert.deepEqual(said, []);
  await clock.advance(1);
  assert.deepEqual(said, ["ping"]);
  liveness.heard();
  await clock.advance(100);
  assert.deepEqual(said, ["ping", "ping"]);
  await clock.advance(10);
  assert.deepEqual(said, ["ping", "ping", "dead"]);
  assert.equal(clock.timers.size, 0);
  liveness.timeoutMs = 500; // longer than the interval
  liveness.start(100);
  liveness.probe();
  liveness.probe();
  assert.deepEqual(said.splice(3), ["ping"]);
  liveness.heard();
  await clock.advance(100);
  assert.deepEqual(said.splice(3), ["ping"]);
  liveness.start(0);
  await clock.advance(1e6);
  assert.equal(said.length, 3);
});

test("when a token is due: a minute ahead, or at four fifths; a clock that is ahead does not matter", () => {
  const now = Date.now();
  const whole = Math.floor(now / 1000) * 1000;
  assert.deepEqual(claimsOf("no.jwt"), {});
  assert.equal(refreshAfterMs("a.b.c", now), null);
  assert.equal(refreshAfterMs(token("alice", 3600), whole), 3_540_000);
  assert.equal(refreshAfterMs(token("alice", 100), whole), 80_000);
  assert.equal(refreshAfterMs(token("alice", 99), whole + 7_200_000), 80_000);
  assert.equal(claimsOf(token("ålice", 10, { exp: 5, name: "ÿ?>" })).exp, 5);
});

test("a new token is asked for when it is due, also after a sleep; one that is not new is told", async () => {
  const clock = new ManualClock();
  clock.time = Date.now();
  const given = [token("a", 100), "", token("a", 500)];
  given[1] = given[0];
  const sent = [], faults = [], reasons = [];
  const keeper = new TokenKeeper({ clock, timeoutMs: 1000, prefix: "x", failed: (fault) => faults.push(fault.code),
    source: async ({ reason }) => (reasons.push(reason), given.shift()) });
  await keeper.forConnection(false);
  keeper.attach((data) => sent.push(JSON.parse(data)));
  await clock.advance(78_000);
  assert.deepEqual(reasons, ["connect"]);
  clock.time += 3000; // asleep
  keeper.wake();
  await settle();
  assert.deepEqual([reasons, faults, sent.length], [["connect", "refresh"], ["SAME_TOKEN"], 0]);
  await clock.advance(5000);
  assert.equal(sent[0].type, "refresh_token");
  assert.equal(keeper.refused(sent[0].message_id, "TOKEN_REFUSED", "no"), true);
  assert.equal(keeper.refused(sent[0].message_id, "TOKEN_REFUSED", "no"), false);
  assert.deepEqual(faults, ["SAME_TOKEN", "TOKEN_REFUSED"]);
  keeper.detach();
  assert.equal(clock.timers.size, 0);
});

test("token() that fails, hangs or gives nonsense is told as NO_TOKEN", async () => {
  const clock = new ManualClock();
  const keeper = (source) => new TokenKeeper({ clock, timeoutMs: 1000, prefix: "x", failed: () => {}, source }).forConnection();
  await assert.rejects(keeper(() => { throw new Error("offline"); }), (fault) => fault.code === "NO_TOKEN" && fault.details.cause.message === "offline");
  await assert.rejects(keeper(async () => 7), code("NO_TOKEN"));
  const hanging = assert.rejects(keeper(() => new Promise(() => {})), code("NO_TOKEN"));
  await clock.advance(1000);
  await hanging;
  assert.equal(await keeper(async () => null), null);
});

function outbox(options) {
  const box = new Outbox({ maxMessages: 3, maxBytes: 100, confirm: true, prefix: "x", ...options });
  const wireLog = [];
  const add = (id, more = {}) => box.add({ id, data: id, bytes: 10, ...more });
  const send = (data) => (wireLog.push(data.startsWith("{") ? JSON.parse(data).id : data), true);
  return { box, wireLog, add, send };
}

test("sending: in order, one ping at a time, which speaks for all before it", async () => {
  const { box, wireLog, add, send } = outbox();
  const first = add("a");
  box.attach(send);
  const second = add("b"), third = add("c");
  assert.deepEqual(wireLog, ["a", "x-p1", "b", "c"]);
  assert.equal(box.refuse("b", "RATE_LIMITED", "too many"), true);
  await assert.rejects(second, (fault) => fault.code === "RATE_LIMITED" && fault.details.message_id === "b");
  assert.equal(box.confirm("other"), false);
  assert.equal(box.confirm("x-p1"), true);
  assert.deepEqual(await first, { id: "a", confirmed: true });
  assert.deepEqual(wireLog.slice(4), ["x-p2"]);
  box.detach();
  await assert.rejects(third, code("UNCONFIRMED"));
  assert.deepEqual([box.size, box.bytes], [0, 0]);
});

test("sending: bounded in count and bytes, withdrawn by a signal, rejected at the end", async () => {
  const { box, add } = outbox();
  const stop = new AbortController();
  const withdrawn = add("a", { signal: stop.signal });
  const waiting = [add("b"), add("c")];
  await assert.rejects(add("d"), code("OVERFLOW"));
  stop.abort();
  await assert.rejects(withdrawn, code("WITHDRAWN"));
  await assert.rejects(add("e", { signal: stop.signal }), code("WITHDRAWN"));
  await assert.rejects(add("f", { bytes: 81 }), code("OVERFLOW"));
  waiting.push(add("g", { bytes: 80 }));
  box.close("CLOSED", "over");
  for (const promise of waiting) await assert.rejects(promise, code("CLOSED"));
});

test("sending: a refusal that names nothing can only mean binary frames", async () => {
  const { box, send } = outbox();
  box.attach(send);
  assert.equal(box.refuseUnnamed("RATE_LIMITED", "x"), false);
  const one = box.add({ id: null, data: "1", bytes: 1 });
  assert.equal(box.refuseUnnamed("RATE_LIMITED", "x"), true);
  await assert.rejects(one, code("RATE_LIMITED"));
  const two = [box.add({ id: null, data: "1", bytes: 1 }), box.add({ id: null, data: "2", bytes: 1 })];
  box.refuseUnnamed("RATE_LIMITED", "x");
  for (const promise of two) await assert.rejects(promise, code("UNCONFIRMED"));
});

test("messages that cannot arrive are refused before they are sent", () => {
  const deep = (n) => (n ? { inner: deep(n - 1) } : 1);
  assert.equal(wire.messageFault({ type: "x", deep: deep(63) }), null);
  for (const message of [null, "x", {}, { type: 1 }, { type: "ping" }, { type: "refresh_token", token: "x" }, { type: "x", message_id: 1 },
    { type: "x", deep: deep(64) }])
    assert.equal(typeof wire.messageFault(message), "string", JSON.stringify(message));
  assert.deepEqual([...wire.bytesOf(Buffer.from([1, 2]))], [1, 2]);
  assert.deepEqual([...wire.bytesOf(new Uint16Array([1]).buffer)], [1, 0]);
  assert.equal(wire.bytesOf("text"), null);
});

function runsWith(limits = {}) {
  const begun = [];
  const runs = new Runs({ events: 3, bytes: 1000, ended: 2, open: 2, ...limits }, (run) => begun.push(run.id));
  const take = (type, run_id = "r", more = {}) => runs.take({ type, run_id, ...more }, 10);
  return { runs, begun, take };
}

async function read(iterator, count = Infinity) {
  const types = [];
  for (let i = 0; i < count; i++) {
    const { done, value } = await iterator.next();
    if (done) break;
    types.push(value.n ?? value.type);
  }
  return types;
}

test("a run: its fields, its end, later readers", async () => {
  const { runs, begun, take } = runsWith({ events: 10 });
  take("agent_started", "r", { thread_id: "t", agent_name: "demo", task_description: "x", timestamp: 5 });
  const run = runs.get("r");
  const reading = read(run.iterate());
  take("tool_executing", "r", { execution_id: "e", tool_name: "calc" });
  assert.deepEqual([...run.openTools.keys()], ["e"]);
  take("tool_completed", "r", { execution_id: "e", tool_name: "calc" });
  assert.equal(run.openTools.size, 0);
  const done = run.done;
  take("agent_completed");
  take("late");
  const all = ["agent_started", "tool_executing", "tool_completed", "agent_completed"];
  assert.deepEqual(await reading, all);
  assert.deepEqual(await read(run.iterate()), all);
  assert.equal((await done).type, "agent_completed");
  assert.equal((await run.done).type, "agent_completed");
  assert.deepEqual([run.threadId, run.agentName, run.task, run.startedAt, run.status, run.ended, run.joined],
    ["t", "demo", "x", 5, "completed", true, false]);
  assert.equal(endsRun(run.end), true);
  take("agent_started");
  assert.notEqual(runs.get("r"), run);
  assert.deepEqual(begun, ["r", "r"]);
});

test("a run's buffer is bounded; a reader that is left behind is told", async () => {
  const { runs, take } = runsWith();
  take("agent_started", "r", { n: 0 });
  const strict = runs.get("r").iterate(), lax = runs.get("r").iterate({ onGap: "continue" });
  assert.deepEqual([await read(strict, 1), await read(lax, 1)], [[0], [0]]);
  for (let n = 1; n <= 4; n++) take("x", "r", { n });
  assert.deepEqual([runs.get("r").dropped, runs.get("r").events.map(({ n }) => n)], [2, [2, 3, 4]]);
  await assert.rejects(read(strict), (fault) => fault.code === "EVENTS_LOST" && /^1 events/.test(fault.message));
  take("agent_error", "r", { n: 5 });
  assert.deepEqual(await read(lax), [3, 4, 5]);
  runs.take({ type: "agent_started", run_id: "big" }, 5000);
  runs.take({ type: "x", run_id: "big" }, 10);
  assert.deepEqual(runs.get("big").events.map(({ type }) => type), ["x"]);
});

test("where events may be missing a reader throws, or goes on when told so", async () => {
  const { runs, take } = runsWith({ events: 10 });
  take("agent_started", "r", { n: 0 });
  const run = runs.get("r");
  const strict = read(run.iterate()), lax = read(run.iterate({ onGap: "continue" }));
  await settle();
  assert.deepEqual(runs.gap("expired"), [run]);
  assert.equal(run.status, "unknown");
  runs.snapshot([{ run_id: "r", last_type: "tool_executing", open_tools: [{ tool_name: "calc", execution_id: "e" }] }]);
  assert.deepEqual([run.status, run.gaps, [...run.openTools.keys()]], ["running", 1, ["e"]]);
  take("agent_completed", "r", { n: 1 });
  await assert.rejects(strict, code("EVENTS_LOST"));
  assert.deepEqual(await lax, [0, 1]);
  assert.deepEqual(await read(run.iterate({ onGap: "continue" })), [0, 1]);
});

test("of runs too, only so many are remembered", async () => {
  const { runs, take } = runsWith();
  for (const id of ["a", "b", "c"]) take("agent_started", id), take("agent_completed", id);
  assert.deepEqual([...runs].map(({ id }) => id), ["b", "c"]);
  take("agent_started", "d");
  const { done } = runs.get("d");
  const forgotten = assert.rejects(done, code("FORGOTTEN"));
  const reader = assert.rejects(read(runs.get("d").iterate()), code("FORGOTTEN"));
  take("agent_started", "e"), take("agent_started", "f");
  await Promise.all([forgotten, reader]);
  assert.deepEqual(runs.open.map(({ id }) => id), ["e", "f"]);
  const closed = assert.rejects(runs.get("f").done, code("CLOSED"));
  runs.close("the end");
  await closed;
  assert.deepEqual([...runs].map(({ id }) => id), ["b", "c"]);
});
