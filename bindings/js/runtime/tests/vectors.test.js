import assert from "node:assert/strict";
import test from "node:test";
import * as lib from "@msgpack/msgpack";
import { Dealer } from "zeromq";
import { makeCommand, Malformed, parseCommand } from "../src/commands.js";
import { decode, encode } from "../src/msgpack.js";
import { Stack, vectors, within } from "./harness.js";

const bytes = (hex) => Buffer.from(hex, "hex");
const frames = (list) => list.map(bytes);

/** A vector's value as this package takes it. */
function value(written) {
  if (Array.isArray(written)) return written.map(value);
  if (written === null || typeof written !== "object") return written;
  if ("$bin" in written) return bytes(written.$bin);
  if ("$float" in written) return Number(written.$float);
  if ("$int" in written) return BigInt(written.$int);
  if ("$ext" in written) return new lib.ExtData(written.$ext[0], bytes(written.$ext[1]));
  if ("$map" in written) return new Map(written.$map.map(([key, item]) => [value(key), value(item)]));
  return Object.fromEntries(Object.entries(written).map(([key, item]) => [key, value(item)]));
}

for (const vector of vectors("commands.json").filter(({ to }) => to === "bridge"))
  test(`makes the frames: ${vector.name}`, () => {
    const body = typeof vector.body === "string" ? bytes(vector.body) : encode(value(vector.body));
    const { connection, user } = vector;
    assert.deepEqual(makeCommand(vector.command, { connection, user, headers: value(vector.headers), body }), frames(vector.frames));
  });

for (const vector of vectors("commands.json").filter(({ to }) => to === "runtime"))
  test(`reads the frames: ${vector.name}`, () => {
    const { command, connection, user, headers, body } = parseCommand(frames(vector.frames));
    assert.deepEqual({ command, connection, user, body: body.toString("hex") },
                     { command: vector.command, connection: vector.connection, user: vector.user, body: vector.body });
    assert.deepEqual(decode(encode(headers)), decode(encode(value(vector.headers))));
  });

// JavaScript has no whole floats, no text that is not UTF-8, and objects no keys other than strings: this package never writes
// such events. Those that can be read mean the same.
const SAME_WHEN_READ = ["floats", "keys that are no strings"], NOT_MADE = ["a string that is not UTF-8"];

for (const vector of vectors("events.json").filter(({ name }) => !NOT_MADE.includes(name)))
  test(`makes the event: ${vector.name}`, () => {
    const made = [Buffer.from(vector.user), encode(value(vector.event))];
    // The last number that a publisher may have is beyond what this package counts to.
    if (vector.meta) made.push(encode({ ...vector.meta, seq: vector.meta.seq === 2 ** 62 ? 2n ** 62n - 1n : vector.meta.seq }));
    const wanted = frames(vector.frames);
    if (SAME_WHEN_READ.includes(vector.name)) [made[1], wanted[1]] = [made[1], wanted[1]].map((event) => encode(decode(event)));
    assert.deepEqual(made, wanted);
  });

for (const vector of vectors("refused.json").filter(({ link }) => link === "to_runtime"))
  test(`refuses: ${vector.name}`, () => {
    assert.throws(() => parseCommand(frames(vector.frames)), Malformed);
  });

test("malformed commands over the wire are counted and logged, and work goes on", async (t) => {
  const stack = new Stack(t);
  const runtime = await stack.runtime();
  const dealer = new Dealer({ routingId: "pod-7", linger: 0 });
  stack.defer(async () => dealer.close());
  dealer.connect(runtime.at["runtime-commands"].slice(1));
  const bad = vectors("refused.json").filter(({ link, frames: list }) => link === "to_runtime" && list.length > 0);
  for (const vector of bad) await dealer.send(frames(vector.frames));
  const t64 = bytes("81a174cfffffffffffffffff"); // 2^64 - 1, as no double holds it
  await dealer.send(["PING", "", "", t64, ""]);
  const [name, , , headers] = await within(dealer.receive(), "PONG");
  assert.equal(name.toString(), "PONG");
  assert.deepEqual(headers, bytes("82a174cfffffffffffffffffa373657100"));
  assert.equal(runtime.stats.commandsMalformed, bad.length);
  assert.equal(stack.logs.filter((line) => line.startsWith("warn: malformed command dropped: ")).length, bad.length);
});

test("PING's t comes back, whatever it is", async (t) => {
  const stack = new Stack(t);
  const runtime = await stack.runtime();
  const dealer = new Dealer({ routingId: "pod-7", linger: 0 });
  stack.defer(async () => dealer.close());
  dealer.connect(runtime.at["runtime-commands"].slice(1));
  for (const hex of ["05", "cf0000010000000005", "d3fffffeffffffffff", "cb3ff8000000000000", "d6ff00000001", "c403000102", "81a16101", "c0"]) {
    await dealer.send(["PING", "", "", bytes(`81a174${hex}`), ""]);
    const reply = await within(dealer.receive(), "PONG");
    assert.equal(reply[3].toString("hex"), `82a174${hex}a373657100`);
  }
  await dealer.send(["PING", "", "", "", ""]);
  assert.equal((await within(dealer.receive(), "PONG"))[3].toString("hex"), "81a373657100");
});

test("what this package writes, another MessagePack library reads as the same", () => {
  const event = { text: "ünï 😀".repeat(40), numbers: [0, 31, -32, 200, -200, 70000, -70000, 2 ** 40, -(2 ** 40), 1.5], nested: { a: [null, true, {}] },
                  bytes: Buffer.alloc(70_000, 7), many: Array.from({ length: 70_000 }, (_, i) => i) };
  const packed = encode(event);
  const read = lib.decode(packed);
  assert.deepEqual({ ...read, bytes: Buffer.from(read.bytes) }, event);
  assert.deepEqual(decode(lib.encode({ ...event, bytes: new Uint8Array(event.bytes) })), event);
});

test("fields: what becomes of values that JSON or MessagePack have not", () => {
  const at = new Date("2023-11-14T22:13:20.500Z");
  const sent = decode(encode({ at, gone: undefined, list: [undefined], map: new Map([["a", 1], [2, "b"]]), set: new Set([1]),
                               big: 2n ** 64n - 1n, small: 5n, half: "a\ud800b", "\udc00": 1, float: new Float32Array([1, 0.5]),
                               url: new URL("https://a.example/"), boxed: Object("s"), ext: new lib.ExtData(5, bytes("01")) }));
  assert.deepEqual(sent, { at, list: [null], map: { a: 1, 2: "b" }, set: [1], big: 2n ** 64n - 1n, small: 5, half: "a\ufffdb", "\ufffd": 1,
                           float: [1, 0.5], url: "https://a.example/", boxed: "s", ext: new lib.ExtData(5, bytes("01")) });
  assert.deepEqual(decode(encode(new Date(-1))), new Date(-1));
  assert.deepEqual(decode(encode(new Date(2 ** 35 * 1000))), new Date(2 ** 35 * 1000));
});

test("fields: what is refused, with the place", () => {
  const cycle = {};
  cycle.cycle = cycle;
  const refused = (field, words) => assert.throws(() => encode({ args: { field } }), (error) =>
    error.code === "BAD_VALUE" && words.test(error.message));
  refused(() => 1, /^args\.field is a function/);
  refused(Symbol("s"), /^args\.field is a symbol/);
  refused(Promise.resolve(), /^args\.field is a promise: await it/);
  refused(new Error("secret"), /^args\.field is an Error/);
  refused(new Date(NaN), /^args\.field is an invalid Date/);
  refused(new lib.ExtData(300, bytes("01")), /^args\.field is an ExtData whose type/);
  refused(2n ** 64n, /^args\.field is a BigInt of more than 64 bits/);
  refused(cycle, /nested deeper than 64, or within itself/);
  assert.throws(() => encode({ text: "x".repeat(1000) }, 1000), { code: "EVENT_TOO_LARGE" });
});

test("what is refused when read: heads that promise too much, depth, keys and strings that are none", () => {
  const refused = (hex, words) => assert.throws(() => decode(bytes(hex)), words, hex);
  for (const hex of ["dd02000000", "ddffffffff", "dfffffffff", "dbffffffff", "c6ffffffff", "c9ffffffff00", "dd0000", "", "cf00"])
    refused(hex, RangeError);
  refused("c1", /no MessagePack/);
  refused("c0c0", /more than one/);
  const nested = (depth) => Buffer.concat([Buffer.alloc(depth, 0x91), bytes("c0")]);
  assert.deepEqual(encode(decode(nested(64))), nested(64));
  for (const depth of [65, 100_000]) assert.throws(() => decode(nested(depth)), /nested deeper than 64/);
  refused("81a95f5f70726f746f5f5f81a16101", /__proto__/);
  refused("8191a95f5f70726f746f5f5f81a16101", /a key that is/); // a list with that one string
  refused("81c4095f5f70726f746f5f5f81a16101", /a key that is/);
  for (const hex of ["92a1c3a161", "a2ff61", "d901ff"]) refused(hex, /no UTF-8/);
  refused("c70cff000000007fffffffffffffff", /timestamp/);
  assert.deepEqual(encode(JSON.parse('{"__proto__": 1}')), bytes("81a95f5f70726f746f5f5f01"));
});

test("heads within heads that promise all that is left cost no memory", () => {
  const heads = Buffer.alloc(1 << 20);
  for (let at = 0; at + 5 <= heads.length; at += 5) heads.writeUInt32BE(heads.length - at - 5, heads.writeUInt8(0xdd, at));
  const before = process.memoryUsage().rss;
  assert.throws(() => decode(heads), RangeError);
  assert.ok(process.memoryUsage().rss - before < 64 << 20);
});
