// States, deltas and contexts as JSON and MessagePack, and back. See codec.py for the form.

import { Context } from "./causal";
import type { Clock } from "./clock";
import { FutureClock, InvalidValue, KindMismatch, Malformed } from "./errors";
import { KINDS, MAX_NESTING } from "./map";
import { packed, unpacked } from "./msgpack";
import { type Kind, Replicated, checkReplica } from "./replicated";
import { type Json, MAX_DEPTH, compareText, freeze, written } from "./value";

export const VERSION = 1;

const TREE_DEPTH = MAX_DEPTH + MAX_NESTING + 5;

export interface LoadOptions {
  replica?: string; // under which the state is to be changed; none for a delta
  clock?: Clock | undefined;
}

export function toJSON(state: Replicated): string {
  return written(tree(state));
}

export function toMsgpack(state: Replicated): Uint8Array {
  return packed(tree(state));
}

// The tree itself, for a message that carries more than the state.
export function toPlain(state: Replicated): Json {
  return freeze(tree(state), Infinity);
}

// A state or delta of that type; of any, for `Replicated`. These throw Malformed and KindMismatch.
export function fromJSON<R extends Replicated>(text: string, kind: Type<R>, options: LoadOptions = {}): R {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw new Malformed("not JSON");
  }
  return fromPlain(parsed, kind, options);
}

export function fromMsgpack<R extends Replicated>(data: Uint8Array, kind: Type<R>, options: LoadOptions = {}): R {
  return fromPlain(unpacked(data, TREE_DEPTH), kind, options);
}

export function fromPlain<R extends Replicated>(plain: unknown, kind: Type<R>, options: LoadOptions = {}): R {
  const [version, name, entries, ...rest] = array(frozen(plain));
  if (typeof version !== "number" || !Number.isSafeInteger(version) || typeof name !== "string" || rest.length) {
    throw new Malformed("a state is an array of version, type and entries");
  }
  if (version !== VERSION) throw new Malformed(`version ${version} isn't known, ${VERSION} is`);
  const found = KINDS.get(name);
  if (!found) throw new Malformed("the type isn't known");
  if ((found as unknown) !== kind && !(found.prototype instanceof kind)) throw new KindMismatch(kind.kind, name);
  const state = new found(options.replica ?? "", { clock: options.clock });
  for (const entry of array(entries)) loadEntry(state, array(entry));
  observeOwn(state);
  return state as R;
}

// [[replica, from, to, …], …], ascending.
export function contextToPlain(context: Context): Json {
  return [...context.entries()]
    .sort(([one], [other]) => compareText(one, other))
    .map(([replica, bounds]) => [replica, ...bounds]);
}

export function contextFromPlain(plain: unknown): Context {
  const context = new Context();
  for (const entry of array(frozen(plain))) {
    const [replica, ...bounds] = array(entry);
    add(context, replica, bounds);
  }
  return context;
}

// A type, also an abstract one.
type Type<R extends Replicated> = (abstract new (...args: never[]) => R) & Pick<Kind, "kind">;

function tree(state: Replicated): Json {
  return [VERSION, state._kind.kind, state._entries()];
}

function loadEntry(state: Replicated, entry: Json[]): void {
  if (entry.length < 2 || entry.length % 2) {
    throw new Malformed("an entry is a replica, its ranges, and pairs of number and item");
  }
  const replica = add(state._context, entry[0], array(entry[1]));
  let last = 0;
  for (let at = 2; at < entry.length; at += 2) {
    const number = entry[at]!;
    const item = entry[at + 1]!;
    if (!Number.isSafeInteger(number) || (number as number) <= last) throw new Malformed("numbers of events ascend");
    last = number as number;
    if (!state._context.has(replica, last)) throw new Malformed("a live event lies outside the ranges");
    state._kind._check(item);
    state._put(replica, last, item);
  }
}

function add(context: Context, replica: Json | undefined, bounds: Json[]): string {
  if (typeof replica !== "string") throw new Malformed("a replica id is a string");
  try {
    checkReplica(replica);
  } catch (error) {
    throw new Malformed((error as InvalidValue).message);
  }
  if (context.bounds(replica).length) throw new Malformed("a replica comes twice");
  if (!bounds.length || bounds.length % 2) throw new Malformed("ranges come in pairs");
  let last = 0;
  for (const bound of bounds) {
    if (!Number.isSafeInteger(bound) || (bound as number) <= last) throw new Malformed("ranges ascend from 1");
    last = bound as number;
  }
  for (let at = 0; at < bounds.length; at += 2) context.add(replica, bounds[at] as number, bounds[at + 1] as number);
  return replica;
}

// Its own past: what lies beyond the clock's bound is no reason to lose the state.
function observeOwn(state: Replicated): void {
  for (const stamp of state._clock ? state._stamps() : []) {
    try {
      state._clock!.observe(stamp);
    } catch (error) {
      if (!(error instanceof FutureClock)) throw error;
    }
  }
}

function array(value: Json | undefined): Json[] {
  if (!Array.isArray(value)) throw new Malformed("an array is wanted");
  return value;
}

function frozen(plain: unknown): Json {
  try {
    return freeze(plain, TREE_DEPTH);
  } catch (error) {
    if (error instanceof InvalidValue) throw new Malformed("not a tree of JSON values");
    throw error;
  }
}
