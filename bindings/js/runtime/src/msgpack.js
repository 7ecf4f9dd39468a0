// MessagePack by @msgpack/msgpack. Before it: what JavaScript has and MessagePack has not becomes something else, or is refused
// with its place. Behind it: integers are numbers where those hold them, and bin is a Buffer.
import { isUtf8 } from "node:buffer";
import { isBoxedPrimitive, isNativeError, isPromise } from "node:util/types";
import { Decoder, Encoder, ExtData } from "@msgpack/msgpack";
import { fault } from "./errors.js";

export const MAX_DEPTH = 64; // maps and arrays within each other, the outermost counts as 1

const MAX_SPARE = 65_536; // bytes; an encoder keeps room for its largest value
const UINT64_MAX = 2n ** 64n - 1n;
const INT64_MIN = -(2n ** 63n);
const BINARY = [ArrayBuffer, Uint8Array, Uint8ClampedArray, DataView];

const newEncoder = () => new Encoder({ useBigInt64: true, maxDepth: MAX_DEPTH + 1 });
let encoder = newEncoder();
const decoder = new Decoder({ useBigInt64: true, mapKeyConverter: keyOf });

/**
 * Value to bytes.
 * @param value    whatever README.md ("What a field may hold") allows
 * @param maxBytes more than that is refused (EVENT_TOO_LARGE)
 * @returns a Buffer of its own; nothing else writes to its memory
 */
export function encode(value, maxBytes = Infinity) {
  const bytes = encoder.encode(prepared(value, { key: null, up: null, depth: 0 }));
  if (bytes.length > MAX_SPARE) encoder = newEncoder();
  if (bytes.length > maxBytes)
    throw fault("EVENT_TOO_LARGE", `${bytes.length} bytes of MessagePack, more than ${maxBytes} (maxEventBytes)`);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The value as the library writes it as it is meant. `place`: {key, up, depth}, where it stands. */
function prepared(value, place) {
  switch (typeof value) {
    case "string": return value.toWellFormed();
    case "number": return Number.isSafeInteger(value) && !isShort(value) ? BigInt(value) : value;
    case "bigint": return integer(value, place);
    case "boolean": case "undefined": return value;
    case "object": return value === null ? null : object(value, place);
    default: return refuse(place, `is a ${typeof value}, which has no place on the wire`);
  }
}

// The library writes longer ones as integers only when they are BigInts, and every BigInt in 64 bits.
function isShort(value) {
  return value <= 0xffffffff && value >= -0x80000000;
}

function integer(value, place) {
  if (value > UINT64_MAX || value < INT64_MIN) refuse(place, "is a BigInt of more than 64 bits: send it as a string");
  return isShort(value) ? Number(value) : value;
}

function object(value, place) {
  const within = (key, item) => prepared(item, { key, up: place, depth: place.depth + 1 });
  if (place.depth >= MAX_DEPTH) refuse(place, `is nested deeper than ${MAX_DEPTH}, or within itself`);
  if (BINARY.some((kind) => value instanceof kind)) return ArrayBuffer.isView(value) ? value : new Uint8Array(value);
  if (Array.isArray(value) || value instanceof Set || ArrayBuffer.isView(value))
    return Array.from(value, (item, i) => within(i, item)); // Float32Array and its like are numbers
  if (value instanceof ExtData) return isExtType(value.type) ? value : refuse(place, "is an ExtData whose type is not from -128 to 127");
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? refuse(place, "is an invalid Date") : value;
  if (isBoxedPrimitive(value)) return prepared(value.valueOf(), place);
  if (isPromise(value)) return refuse(place, "is a promise: await it first");
  if (isNativeError(value)) return refuse(place, "is an Error: name what of it the client may see, such as its message");
  if (typeof value.toJSON === "function") return prepared(value.toJSON(), { ...place, depth: place.depth + 1 });
  const entries = value instanceof Map ? [...value] : Object.entries(value);
  return Object.fromEntries(entries.filter(([, item]) => item !== undefined)
    .map(([key, item]) => [String(key).toWellFormed(), within(key, item)]));
}

function isExtType(type) {
  return Number.isInteger(type) && type >= -128 && type <= 127;
}

function refuse(place, why) {
  const path = [];
  for (let at = place; at.up; at = at.up) path.unshift(String(at.key));
  throw fault("BAD_VALUE", `${path.slice(0, 8).join(".") || "the value"} ${why}`);
}

/**
 * Bytes to value; throws for whatever is not exactly one well-formed value, for the key `__proto__`, keys that are bytes, lists or
 * maps, and timestamps that no Date holds. Integers beyond 2^53 are BigInts, bin is a Buffer on the memory of `bytes`, map keys are
 * strings.
 */
export function decode(bytes) {
  const end = endOf(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  if (end !== bytes.length) throw new RangeError("more than one MessagePack value");
  return narrowed(decoder.decode(bytes));
}

// The library compares a key with `__proto__` before this: whatever becomes that word only here must not come through.
function keyOf(key) {
  if (Object(key) === key) throw new RangeError("a key that is bytes, a list or a map");
  return String(key);
}

function narrowed(value) {
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  if (typeof value !== "object" || value === null || value instanceof ExtData) return value;
  if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  if (value instanceof Date && Number.isNaN(value.getTime())) throw new RangeError("a timestamp that no Date holds");
  for (const key of Object.keys(value)) value[key] = narrowed(value[key]);
  return value;
}

// Of the tags from 0xc0: bytes of the count behind it, and bytes behind that which it does not count.
const WIDTH = [0, 0, 0, 0, 1, 2, 4, 1, 2, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 4, 2, 4, 2, 4];
const FIXED = [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 2, 3, 5, 9, 17, 0, 0, 0, 0, 0, 0, 0];

/**
 * Where the value that begins at `at` ends; throws when it is not all there. The library would make room for what each count
 * promises, one within the other, and make something of strings that are no UTF-8.
 */
function endOf(bytes, at = 0, depth = 0) {
  const tag = bytes[at++];
  if (tag === undefined || tag === 0xc1) throw new RangeError(tag ? "no MessagePack" : "MessagePack cut short");
  if (tag < 0x80 || tag >= 0xe0) return at;
  const [width, fixed] = tag < 0xc0 ? [0, tag & (tag < 0xa0 ? 0x0f : 0x1f)] : [WIDTH[tag - 0xc0], FIXED[tag - 0xc0]];
  const count = fixed + (width && bytes.readUIntBE(at, width));
  at += width;
  if (tag < 0xa0 || tag >= 0xdc) {
    if (depth === MAX_DEPTH) throw new RangeError(`nested deeper than ${MAX_DEPTH}`);
    for (let items = tag < 0x90 || tag >= 0xde ? count * 2 : count; items > 0; items--) at = endOf(bytes, at, depth + 1);
    return at;
  }
  if (count > bytes.length - at) throw new RangeError("MessagePack cut short");
  if ((tag < 0xc0 || tag >= 0xd9) && !isUtf8(bytes.subarray(at, at + count))) throw new RangeError("a str that is no UTF-8");
  return at + count;
}

/** The text of a frame that must be UTF-8; null when it is not. */
export function utf8(bytes) {
  return isUtf8(bytes) ? bytes.toString("utf8") : null;
}
