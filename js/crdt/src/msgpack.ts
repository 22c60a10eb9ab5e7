// MessagePack: written in its shortest forms, so that equal values have equal bytes; read in any.

import { Malformed } from "./errors";
import { type Json, fromEntries, sorted } from "./value";

const utf8 = new TextEncoder();
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export function packed(value: Json): Uint8Array {
  const out = new Writer();
  write(out, value);
  return out.bytes();
}

export function compareBytes(one: Uint8Array, other: Uint8Array): number {
  for (let at = 0; at < Math.min(one.length, other.length); at++) {
    if (one[at] !== other[at]) return one[at]! - other[at]!;
  }
  return one.length - other.length;
}

// Throws Malformed, also for what JSON has not: bytes, extensions, keys that aren't strings.
export function unpacked(data: Uint8Array, depth: number): Json {
  const reader = new Reader(data);
  const value = reader.value(depth);
  if (reader.at !== data.length) throw new Malformed("more bytes than one value");
  return value;
}

class Writer {
  private view = new DataView(new ArrayBuffer(256));
  private length = 0;

  bytes(): Uint8Array {
    return new Uint8Array(this.view.buffer, 0, this.length);
  }

  // A first byte and a number in `size` bytes after it; of a float, 8.
  head(first: number, size = 0, number = 0, float = false): void {
    const view = this.room(1 + size);
    const at = this.length + 1;
    view.setUint8(at - 1, first);
    if (float) view.setFloat64(at, number);
    else if (size === 1) view.setUint8(at, number);
    else if (size === 2) view.setUint16(at, number);
    else if (size === 4) view.setUint32(at, number);
    else if (size === 8) view.setBigInt64(at, BigInt(number));
    this.length += 1 + size;
  }

  raw(bytes: Uint8Array): void {
    new Uint8Array(this.room(bytes.length).buffer).set(bytes, this.length);
    this.length += bytes.length;
  }

  private room(size: number): DataView {
    if (this.length + size > this.view.byteLength) {
      const larger = new Uint8Array(2 * (this.length + size));
      larger.set(this.bytes());
      this.view = new DataView(larger.buffer);
    }
    return this.view;
  }
}

function write(out: Writer, value: Json): void {
  if (value === null) out.head(0xc0);
  else if (typeof value === "boolean") out.head(value ? 0xc3 : 0xc2);
  else if (typeof value === "number") writeNumber(out, value);
  else if (typeof value === "string") {
    const bytes = utf8.encode(value);
    if (bytes.length < 32) out.head(0xa0 | bytes.length);
    else if (bytes.length < 0x100) out.head(0xd9, 1, bytes.length);
    else if (bytes.length < 0x10000) out.head(0xda, 2, bytes.length);
    else out.head(0xdb, 4, bytes.length);
    out.raw(bytes);
  } else if (Array.isArray(value)) {
    writeLength(out, 0x90, 0xdc, value.length);
    for (const each of value) write(out, each);
  } else {
    const properties = sorted(value);
    writeLength(out, 0x80, 0xde, properties.length);
    for (const [key, each] of properties) {
      write(out, key);
      write(out, each);
    }
  }
}

function writeLength(out: Writer, short: number, long: number, length: number): void {
  if (length < 16) out.head(short | length);
  else if (length < 0x10000) out.head(long, 2, length);
  else out.head(long + 1, 4, length);
}

function writeNumber(out: Writer, value: number): void {
  if (!Number.isSafeInteger(value)) out.head(0xcb, 8, value, true);
  else if (value >= 0) {
    if (value < 0x80) out.head(value);
    else if (value < 0x100) out.head(0xcc, 1, value);
    else if (value < 0x10000) out.head(0xcd, 2, value);
    else if (value < 0x100000000) out.head(0xce, 4, value);
    else out.head(0xcf, 8, value);
  } else if (value >= -32) out.head(value & 0xff);
  else if (value >= -0x80) out.head(0xd0, 1, value);
  else if (value >= -0x8000) out.head(0xd1, 2, value);
  else if (value >= -0x80000000) out.head(0xd2, 4, value);
  else out.head(0xd3, 8, value);
}

class Reader {
  at = 0;
  private readonly view: DataView;

  constructor(private readonly data: Uint8Array) {
    this.view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  }

  value(depth: number): Json {
    const first = this.view.getUint8(this.skip(1));
    if (first < 0x80) return first;
    if (first < 0x90) return this.object(first & 15, depth);
    if (first < 0xa0) return this.array(first & 15, depth);
    if (first < 0xc0) return this.text(first & 31);
    if (first >= 0xe0) return first - 0x100;
    switch (first) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xca:
        return this.view.getFloat32(this.skip(4));
      case 0xcb:
        return this.view.getFloat64(this.skip(8));
      case 0xcc:
      case 0xcd:
      case 0xce:
      case 0xcf:
        return this.unsigned(first - 0xcc);
      case 0xd0:
        return this.view.getInt8(this.skip(1));
      case 0xd1:
        return this.view.getInt16(this.skip(2));
      case 0xd2:
        return this.view.getInt32(this.skip(4));
      case 0xd3:
        return Number(this.view.getBigInt64(this.skip(8)));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.text(this.unsigned(first - 0xd9));
      case 0xdc:
      case 0xdd:
        return this.array(this.unsigned(first - 0xdb), depth);
      case 0xde:
      case 0xdf:
        return this.object(this.unsigned(first - 0xdd), depth);
      default:
        throw new Malformed("not a JSON value");
    }
  }

  // In 1, 2, 4 or 8 bytes.
  private unsigned(power: number): number {
    const at = this.skip(1 << power);
    if (power === 0) return this.view.getUint8(at);
    if (power === 1) return this.view.getUint16(at);
    if (power === 2) return this.view.getUint32(at);
    return Number(this.view.getBigUint64(at));
  }

  private text(length: number): string {
    const at = this.skip(length);
    try {
      return strict.decode(this.data.subarray(at, at + length));
    } catch {
      throw new Malformed("not UTF-8");
    }
  }

  private array(length: number, depth: number): Json[] {
    this.enter(length, depth);
    const values: Json[] = [];
    for (let n = 0; n < length; n++) values.push(this.value(depth - 1));
    return values;
  }

  private object(length: number, depth: number): Json {
    this.enter(length, depth);
    const entries: [string, Json][] = [];
    for (let n = 0; n < length; n++) {
      const key = this.value(depth - 1);
      if (typeof key !== "string") throw new Malformed("an object's key is a string");
      entries.push([key, this.value(depth - 1)]);
    }
    return fromEntries(entries);
  }

  private enter(length: number, depth: number): void {
    if (depth <= 0) throw new Malformed("nested too deep");
    if (length > this.data.length - this.at) throw new Malformed("too few bytes");
  }

  private skip(size: number): number {
    const at = this.at;
    if (size > this.data.length - at) throw new Malformed("too few bytes");
    this.at += size;
    return at;
  }
}
