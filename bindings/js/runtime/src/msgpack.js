// MessagePack as this wire wants it. The general libraries lose here what a client would miss: a Map becomes {}, an integer
// beyond 64 bits wraps, whole floats and integers from 2^32 on change places, and readers allocate what a count promises.
import { isUtf8 } from "node:buffer";
import { isBoxedPrimitive, isNativeError, isPromise } from "node:util/types";
import { fault } from "./errors.js";

export const MAX_DEPTH = 64; // maps and arrays within each other, the outermost counts as 1

const MAX_SPARE = 65_536;
const TIMESTAMP = -1;
const UINT64_MAX = 2n ** 64n - 1n;
const INT64_MIN = -(2n ** 63n);

/** A number that is written as a float also when it is whole. */
export class Float {
  constructor(value) {
    this.value = Number(value);
  }
}

/** A MessagePack extension value. */
export class Ext {
  constructor(type, data) {
    if (!Number.isInteger(type) || type < -128 || type > 127)
      throw new RangeError(`an ext type is an integer from -128 to 127, not ${type}`);
    this.type = type;
    this.data = Buffer.from(data);
  }
}

/** Bytes that are one MessagePack value already. */
export class Raw {
  constructor(bytes) {
    this.bytes = bytes;
  }
}

/**
 * Value to bytes.
 * @param value    whatever README.md ("What a field may hold") allows
 * @param maxBytes more than that is refused (EVENT_TOO_LARGE)
 * @returns a Buffer of its own; nothing else writes to its memory
 */
export function encode(value, maxBytes = Infinity) {
  const writer = new Writer(maxBytes);
  writer.value(value);
  return writer.finish();
}

let spare = null; // the last writer's buffer

class Writer {
  #bytes = spare ?? Buffer.allocUnsafeSlow(4096);
  #at = 0;
  #depth = 0;
  #path = [];
  #maxBytes;

  constructor(maxBytes) {
    this.#maxBytes = maxBytes;
    spare = null; // a toJSON may encode something itself
  }

  finish() {
    if (this.#bytes.length <= MAX_SPARE) spare = this.#bytes;
    return Buffer.from(this.#bytes.subarray(0, this.#at));
  }

  value(value) {
    switch (typeof value) {
      case "string": return this.#string(value);
      case "number": return this.#number(value);
      case "boolean": return this.#byte(value ? 0xc3 : 0xc2);
      case "bigint": return this.#bigint(value);
      case "object": return value === null ? this.#byte(0xc0) : this.#object(value);
      case "undefined": return this.#byte(0xc0);
      default: return this.#refuse(`is a ${typeof value}, which has no place on the wire`);
    }
  }

  #object(value) {
    if (Array.isArray(value)) return this.#array(value);
    if (value instanceof Date) return this.#date(value);
    if (value instanceof Map) return this.#map([...value]);
    if (value instanceof Set) return this.#array([...value]);
    if (value instanceof Float) return this.#float(value.value);
    if (value instanceof Ext) return this.#ext(value.type, value.data);
    if (value instanceof Raw) return this.#put(value.bytes);
    if (value instanceof ArrayBuffer) return this.#bin(Buffer.from(value));
    if (ArrayBuffer.isView(value)) return this.#view(value);
    if (isBoxedPrimitive(value)) return this.value(value.valueOf());
    if (isPromise(value)) return this.#refuse("is a promise: await it first");
    if (isNativeError(value)) return this.#refuse("is an Error: name what of it the client may see, such as its message");
    if (typeof value.toJSON === "function") return this.#custom(value);
    return this.#map(Object.entries(value));
  }

  #custom(value) {
    this.#enter();
    this.value(value.toJSON());
    this.#depth--;
  }

  #view(view) {
    if (view instanceof Uint8Array || view instanceof Uint8ClampedArray || view instanceof DataView)
      return this.#bin(Buffer.from(view.buffer, view.byteOffset, view.byteLength));
    return this.#array([...view]); // Float32Array and its like are numbers
  }

  #array(items) {
    this.#enter();
    this.#head(items.length, 0x90, 16, 0xdc, 0xdd);
    for (let i = 0; i < items.length; i++) this.#within(i, items[i]);
    this.#depth--;
  }

  #map(entries) {
    const kept = entries.filter(([, value]) => value !== undefined);
    this.#enter();
    this.#head(kept.length, 0x80, 16, 0xde, 0xdf);
    for (const [key, value] of kept) {
      this.value(key);
      this.#within(key, value);
    }
    this.#depth--;
  }

  #within(key, value) {
    this.#path.push(key);
    this.value(value);
    this.#path.pop();
  }

  #enter() {
    if (++this.#depth > MAX_DEPTH) this.#refuse(`is nested deeper than ${MAX_DEPTH}, or within itself`);
  }

  // A half of a surrogate pair becomes U+FFFD here: Buffer does that.
  #string(text) {
    const length = Buffer.byteLength(text);
    if (length < 32) this.#byte(0xa0 | length);
    else if (length < 0x100) this.#sized(0xd9, 1, length);
    else this.#head(length, 0, 0, 0xda, 0xdb);
    this.#room(length);
    this.#at += this.#bytes.write(text, this.#at, length, "utf8");
  }

  #number(value) {
    if (!Number.isSafeInteger(value) || Object.is(value, -0)) return this.#float(value);
    if (Math.abs(value) > 0xffffffff || value < -0x80000000) return this.#bigint(BigInt(value));
    if (value >= 0) this.#unsigned(value);
    else this.#negative(value);
  }

  #unsigned(value) {
    if (value < 0x80) this.#byte(value);
    else if (value < 0x100) this.#sized(0xcc, 1, value);
    else if (value < 0x10000) this.#sized(0xcd, 2, value);
    else this.#sized(0xce, 4, value);
  }

  #negative(value) {
    if (value >= -0x20) this.#byte(value & 0xff);
    else if (value >= -0x80) this.#sized(0xd0, 1, value & 0xff);
    else if (value >= -0x8000) this.#sized(0xd1, 2, value & 0xffff);
    else this.#sized(0xd2, 4, value >>> 0);
  }

  #bigint(value) {
    if (value > UINT64_MAX || value < INT64_MIN) this.#refuse("is a BigInt of more than 64 bits: send it as a string");
    if (value <= 0xffffffffn && value >= -0x80000000n) return this.#number(Number(value));
    this.#byte(value < 0n ? 0xd3 : 0xcf);
    this.#room(8);
    this.#at = this.#bytes.writeBigUInt64BE(BigInt.asUintN(64, value), this.#at);
  }

  #float(value) {
    this.#byte(0xcb);
    this.#room(8);
    this.#at = this.#bytes.writeDoubleBE(value, this.#at);
  }

  #date(date) {
    const ms = date.getTime();
    if (Number.isNaN(ms)) this.#refuse("is an invalid Date");
    const seconds = Math.floor(ms / 1000);
    const nanoseconds = (ms - seconds * 1000) * 1_000_000;
    this.#ext(TIMESTAMP, timestamp(seconds, nanoseconds));
  }

  #ext(type, data) {
    const fixed = [1, 2, 4, 8, 16].indexOf(data.length);
    if (fixed >= 0) this.#byte(0xd4 + fixed);
    else if (data.length < 0x100) this.#sized(0xc7, 1, data.length);
    else this.#head(data.length, 0, 0, 0xc8, 0xc9);
    this.#byte(type & 0xff);
    this.#put(data);
  }

  #bin(bytes) {
    if (bytes.length < 0x100) this.#sized(0xc4, 1, bytes.length);
    else this.#head(bytes.length, 0, 0, 0xc5, 0xc6);
    this.#put(bytes);
  }

  // A count or length: in the tag itself below `small`, else behind it in 16 or 32 bits.
  #head(count, fixTag, small, tag16, tag32) {
    if (count < small) this.#byte(fixTag | count);
    else if (count < 0x10000) this.#sized(tag16, 2, count);
    else this.#sized(tag32, 4, count);
  }

  #sized(tag, size, value) {
    this.#byte(tag);
    this.#room(size);
    this.#at = this.#bytes.writeUIntBE(value, this.#at, size);
  }

  #put(bytes) {
    this.#room(bytes.length);
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  #byte(value) {
    this.#room(1);
    this.#bytes[this.#at++] = value;
  }

  #room(more) {
    const need = this.#at + more;
    if (need > this.#maxBytes)
      throw fault("EVENT_TOO_LARGE", `more than ${this.#maxBytes} bytes of MessagePack (maxEventBytes)`);
    if (need <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(need, this.#bytes.length * 2));
    this.#bytes.copy(larger, 0, 0, this.#at);
    this.#bytes = larger;
  }

  #refuse(why) {
    const where = this.#path.slice(0, 8).map(String).join(".") || "the value";
    throw fault("BAD_VALUE", `${where} ${why}`);
  }
}

/** The shortest of the three forms of the timestamp extension. */
function timestamp(seconds, nanoseconds) {
  if (seconds < 0 || seconds >= 2 ** 34) {
    const bytes = Buffer.alloc(12);
    bytes.writeUInt32BE(nanoseconds);
    bytes.writeBigInt64BE(BigInt(seconds), 4);
    return bytes;
  }
  if (nanoseconds === 0 && seconds < 2 ** 32) {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(seconds);
    return bytes;
  }
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE((BigInt(nanoseconds) << 34n) | BigInt(seconds));
  return bytes;
}

/**
 * Bytes to value; throws a RangeError for whatever is not exactly one well-formed value.
 * Integers beyond 2^53 are BigInts, bin is a Buffer, a timestamp a Date (an Ext where a Date cannot hold it), map keys are strings.
 * @param raw names of keys of the outermost map whose values stay as they are (Raw)
 */
export function decode(bytes, raw = []) {
  const reader = new Reader(bytes, new Set(raw));
  const value = reader.value();
  reader.finish();
  return value;
}

class Reader {
  #bytes;
  #raw;
  #at = 0;
  #depth = 0;

  constructor(bytes, raw) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#raw = raw;
  }

  finish() {
    if (this.#at !== this.#bytes.length) throw new RangeError("more than one MessagePack value");
  }

  value() {
    const tag = this.#uint(1);
    if (tag < 0x80) return tag;
    if (tag < 0x90) return this.#map(tag & 0x0f);
    if (tag < 0xa0) return this.#array(tag & 0x0f);
    if (tag < 0xc0) return this.#string(tag & 0x1f);
    if (tag >= 0xe0) return tag - 0x100;
    return this.#tagged(tag);
  }

  #tagged(tag) {
    switch (tag) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: case 0xc5: case 0xc6: return Buffer.from(this.#take(this.#uint(1 << (tag - 0xc4))));
      case 0xc7: case 0xc8: case 0xc9: return this.#ext(this.#uint(1 << (tag - 0xc7)));
      case 0xca: return this.#take(4).readFloatBE();
      case 0xcb: return this.#take(8).readDoubleBE();
      case 0xcc: case 0xcd: case 0xce: return this.#uint(1 << (tag - 0xcc));
      case 0xcf: return narrowed(this.#take(8).readBigUInt64BE());
      case 0xd0: case 0xd1: case 0xd2: return this.#int(1 << (tag - 0xd0));
      case 0xd3: return narrowed(this.#take(8).readBigInt64BE());
      case 0xd4: case 0xd5: case 0xd6: case 0xd7: case 0xd8: return this.#ext(1 << (tag - 0xd4));
      case 0xd9: case 0xda: case 0xdb: return this.#string(this.#uint(1 << (tag - 0xd9)));
      case 0xdc: case 0xdd: return this.#array(this.#uint(2 << (tag - 0xdc)));
      case 0xde: case 0xdf: return this.#map(this.#uint(2 << (tag - 0xde)));
      default: throw new RangeError("no MessagePack");
    }
  }

  #array(count) {
    this.#enter(count);
    const items = [];
    for (let i = 0; i < count; i++) items.push(this.value());
    this.#depth--;
    return items;
  }

  #map(count) {
    this.#enter(count * 2);
    const map = {};
    for (let i = 0; i < count; i++) {
      const key = String(this.value());
      const value = this.#depth === 1 && this.#raw.has(key) ? this.#rawValue() : this.value();
      if (key === "__proto__") Object.defineProperty(map, key, { value, enumerable: true, configurable: true, writable: true });
      else map[key] = value;
    }
    this.#depth--;
    return map;
  }

  #rawValue() {
    const from = this.#at;
    this.value();
    return new Raw(this.#bytes.subarray(from, this.#at));
  }

  // Every item has at least one byte, so a count from outside costs no memory before its bytes are there.
  #enter(items) {
    if (items > this.#bytes.length - this.#at) throw new RangeError("MessagePack cut short");
    if (++this.#depth > MAX_DEPTH) throw new RangeError(`nested deeper than ${MAX_DEPTH}`);
  }

  #ext(length) {
    const type = this.#int(1);
    const data = this.#take(length);
    return (type === TIMESTAMP && date(data)) || new Ext(type, data);
  }

  #string(length) {
    return this.#take(length).toString("utf8");
  }

  #uint(size) {
    return this.#take(size).readUIntBE(0, size);
  }

  #int(size) {
    return this.#take(size).readIntBE(0, size);
  }

  #take(length) {
    const from = this.#at;
    if (length > this.#bytes.length - from) throw new RangeError("MessagePack cut short");
    this.#at += length;
    return this.#bytes.subarray(from, this.#at);
  }
}

function narrowed(big) {
  const number = Number(big);
  return Number.isSafeInteger(number) ? number : big;
}

/** The Date of a timestamp's bytes, or null when there is none. */
function date(data) {
  const parts = { 4: () => [data.readUInt32BE(), 0], 8: () => packed(data.readBigUInt64BE()),
                  12: () => [Number(data.readBigInt64BE(4)), data.readUInt32BE()] }[data.length];
  if (!parts) return null;
  const [seconds, nanoseconds] = parts();
  const at = new Date(seconds * 1000 + Math.floor(nanoseconds / 1_000_000));
  return Number.isNaN(at.getTime()) ? null : at;
}

function packed(bits) {
  return [Number(bits & 0x3ffffffffn), Number(bits >> 34n)];
}

/** The text of a frame that must be UTF-8; null when it is not. */
export function utf8(bytes) {
  return isUtf8(bytes) ? bytes.toString("utf8") : null;
}
