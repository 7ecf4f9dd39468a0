/* Tokens: refreshed, refused, expired. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { hurriedClock, patient } from "./harness/clock.js";
import { Stack, token } from "./harness/stack.js";
import { until } from "./harness/wait.js";

const OTHERS_SECRET = "of-somebody-else-0123456789abcdef0123456789abcdef";
const stack = new Stack({ after: () => {} });

before(async () => {
  await stack.startRuntime();
  await stack.startBridge({ "jwt-leeway-s": 0 });
});
after(() => stack.finish());

/** A clock that a test can put ahead, as a laptop's that slept. */
function sleepy() {
  const clock = { ahead: 0, now: () => Date.now() + clock.ahead };
  return clock;
}

test("after a sleep the token is replaced at once; the connection outlives the old one", async () => {
  const clock = sleepy();
  const page = new EventTarget();
  const asked = [];
  const socket = await stack.online({ clock, page, token: async ({ reason }) => {
    asked.push(reason);
    return token("alice", reason === "refresh" ? 3600 : 3);
  } });
  const { id } = socket.connection;
  const witness = stack.client({ token: token("alice", 3) });
  clock.ahead = 2700;
  page.dispatchEvent(new Event("pageshow"));
  await until(() => asked.length === 2);
  await until(() => witness.state === "failed", "a token that is younger than the first has expired");
  assert.equal(witness.status.reason, "TOKEN_EXPIRED");
  assert.equal((await socket.send({ type: "say" })).confirmed, true);
  assert.deepEqual([socket.connection.id, socket.seen.states, asked, socket.seen.faults], [id, ["online"], ["connect", "refresh"], []]);
});

test("a new token that is refused is told, and another one is tried", async () => {
  const clock = hurriedClock();
  const page = new EventTarget();
  const given = [token("bob", 100), token("bob", 200, {}, OTHERS_SECRET), token("carol", 300), token("bob", 400)];
  const types = [];
  const parse = (text) => {
    const frame = JSON.parse(text);
    types.push(frame.type);
    return frame;
  };
  const socket = await stack.online({ ...patient, parse, clock, page, token: async () => given.shift() });
  clock.ahead = 99_000;
  page.dispatchEvent(new Event("pageshow"));
  await until(() => given.length === 0);
  await until(() => types.includes("token_refreshed"));
  assert.deepEqual(socket.seen.faults.map(({ code }) => code), ["TOKEN_REFUSED", "TOKEN_REFUSED"]);
  assert.deepEqual(types, ["connection_established", "error_message", "error_message", "token_refreshed"]);
  for (const { message } of socket.seen.faults) assert.doesNotMatch(message, /eyJ/);
  assert.deepEqual(socket.seen.states, ["online"]);
});

test("a token that expires: a new one is asked for, and the client comes back without a loss", async () => {
  const asked = [];
  let short;
  const socket = await stack.online({ token: async ({ reason }) => {
    asked.push(reason);
    return reason === "expired" ? token("dave") : (short ??= token("dave", 3));
  } });
  await until(() => socket.stats.connections === 2);
  assert.equal(asked.at(-1), "expired");
  assert.deepEqual([socket.seen.resyncs, socket.state], [[], "online"]);
  assert.ok(socket.seen.faults.every(({ code }) => code === "SAME_TOKEN"));
});

test("a token that has expired before it is used", async () => {
  const asked = [];
  const socket = await stack.online({ token: async ({ reason }) => (asked.push(reason), token("erin", reason === "expired" ? 100 : -100)) });
  assert.deepEqual([asked, socket.seen.states], [["connect", "expired"], ["connecting", "connecting", "online"]]);
  const fixed = stack.client({ token: token("erin", -100) });
  await until(() => fixed.state === "failed");
  assert.deepEqual([fixed.status.code, fixed.status.reason], [1008, "TOKEN_EXPIRED"]);
});

test("turned away for good: no further try", async () => {
  const before = stack.proxy.accepted;
  const socket = stack.client({ token: async () => token("alice", 100, {}, OTHERS_SECRET) });
  const unsent = assert.rejects(socket.send({ type: "say" }), ({ code }) => code === "CLOSED");
  await until(() => socket.state === "failed");
  await unsent;
  assert.deepEqual([socket.status.code, socket.status.reason, socket.status.nextAttemptAt], [1008, "VALIDATION_FAILED", null]);
  const none = stack.client({ token: null });
  await until(() => none.state === "failed");
  assert.equal(none.status.reason, "JWT_TOKEN_MISSING");
  assert.equal(stack.proxy.accepted, before + 2);
});

test("an application that has no token yet is asked again; what it throws is told", async () => {
  let times = 0;
  const socket = await stack.online({ token: async () => {
    if (times++ < 2) throw new Error("signed out");
    return token("frank");
  } });
  assert.equal(times, 3);
  assert.deepEqual(socket.seen.faults.map(({ code, details }) => [code, details.cause.message]), Array(2).fill(["NO_TOKEN", "signed out"]));
});

test("whoever closes while a token is on its way has closed", async () => {
  let give;
  const before = stack.proxy.accepted;
  const socket = stack.client({ token: () => new Promise((resolve) => (give = resolve)) });
  socket.close();
  give(token());
  await stack.online(); // whatever the first one did would have been before
  assert.deepEqual([socket.state, stack.proxy.accepted], ["closed", before + 1]);
});
