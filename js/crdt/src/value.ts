// The values that can be shared, and their one spelling: JSON with finite numbers and without lone surrogates.
//
// Where the order of strings matters they are compared by code point, as Python does; JavaScript's own `<` compares
// UTF-16 units, which puts the astral planes before U+E000.

import { InvalidValue } from "./errors";

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

// What a set holds.
export type Element = string | number | Element[];

export const MAX_DEPTH = 32; // arrays and objects inside each other in one value

const LONE_SURROGATE = /\p{Cs}/u;

// A copy of a value inside the domain, which shares nothing with it.
export function freeze(value: unknown, depth = MAX_DEPTH): Json {
  switch (typeof value) {
    case "string":
      return text(value);
    case "boolean":
      return value;
    case "number":
      if (!Number.isFinite(value)) throw new InvalidValue("a number is finite");
      return value === 0 ? 0 : value; // -0 is 0
    case "object":
      if (value === null) return null;
      if (depth === 0) throw new InvalidValue("nested too deep");
      if (Array.isArray(value)) return Array.from(value, (each) => freeze(each, depth - 1));
      if (isPlain(value)) {
        return fromEntries(Object.entries(value).map(([key, each]) => [text(key), freeze(each, depth - 1)]));
      }
  }
  throw new InvalidValue(`not a JSON value: ${typeof value}`);
}

export function freezeElement(value: unknown): Element {
  const frozen = freeze(value);
  if (!isElement(frozen)) throw new InvalidValue("a set holds strings, numbers and arrays of them");
  return frozen;
}

export function isElement(value: Json): value is Element {
  return typeof value === "string" || typeof value === "number" || (Array.isArray(value) && value.every(isElement));
}

// A reader's own copy of a frozen value.
export function thaw<T>(frozen: Json): T {
  return freeze(frozen, Infinity) as T;
}

// Unlike assignment it makes an ordinary property of "__proto__".
export function fromEntries<T>(entries: Iterable<readonly [string, T]>): Record<string, T> {
  return Object.fromEntries(entries);
}

export function compareText(one: string, other: string): number {
  const length = Math.min(one.length, other.length);
  for (let at = 0; at < length; at++) {
    const a = one.charCodeAt(at);
    const b = other.charCodeAt(at);
    if (a !== b) return rank(a) - rank(b);
  }
  return one.length - other.length;
}

// The canonical JSON of a frozen value.
export function written(frozen: Json): string {
  if (Array.isArray(frozen)) return `[${frozen.map(written).join()}]`;
  if (typeof frozen === "object" && frozen !== null) {
    return `{${sorted(frozen)
      .map(([key, each]) => `${JSON.stringify(key)}:${written(each)}`)
      .join()}}`;
  }
  return JSON.stringify(frozen);
}

// An object's properties, by code point of the key.
export function sorted(object: { [key: string]: Json }): [string, Json][] {
  return Object.entries(object).sort(([one], [other]) => compareText(one, other));
}

// Surrogates, the units of all that lies beyond U+FFFF, after the rest.
function rank(unit: number): number {
  return unit >= 0xd800 && unit < 0xe000 ? unit + 0x10000 : unit;
}

function text(value: string): string {
  if (LONE_SURROGATE.test(value)) throw new InvalidValue("a string without lone surrogates is wanted");
  return value;
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
