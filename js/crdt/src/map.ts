// Maps: one whose entries are written as a whole, and one whose entries are replicated objects themselves. See map.py.

import { Context, type Dot } from "./causal";
import type { Stamp } from "./clock";
import { GCounter, PNCounter } from "./counter";
import { InvalidValue, Malformed, ReadOnly } from "./errors";
import { DisableWinsFlag, EnableWinsFlag } from "./flag";
import { LWWRegister, MVRegister } from "./register";
import { type Kind, type Owner, Replicated } from "./replicated";
import { Fugue } from "./sequence";
import { GSet, LWWSet, ORSet, TwoPhaseSet } from "./set";
import { Stamped, type Write, checkStamp } from "./stamped";
import { type Json, compareText, freeze, fromEntries, thaw } from "./value";

export const MAX_NESTING = 16; // maps inside maps

// A map where for each key the last of set and delete counts, by clock where they are concurrent: settings.
export class LWWMap<V = unknown> extends Stamped {
  static override readonly kind = "lwwmap";

  private readonly shown = new Map<string, Json>();

  get value(): Record<string, V> {
    return fromEntries([...this.entries()].map(([key, value]) => [key, thaw<V>(value)]));
  }

  get size(): number {
    return this.entries().size;
  }

  set(key: string, value: V): this {
    return this.write(checkKey(key), key, freeze(value));
  }

  // Recorded even if there is no such key.
  delete(key: string): this {
    return this.write(checkKey(key), key);
  }

  get(key: string): V | undefined {
    const value = this.entries().get(key);
    return value === undefined ? undefined : thaw<V>(value);
  }

  has(key: string): boolean {
    return this.entries().has(key);
  }

  keys(): string[] {
    return [...this.entries().keys()];
  }

  static _check(item: Json): void {
    checkStamp(item, 3, 4);
    if (typeof item[2] !== "string") throw new Malformed("a map's key is a string");
  }

  override _shows(): boolean {
    return this.size > 0;
  }

  protected override cellOf(write: Write): Json {
    return write[2]!;
  }

  protected override isTombstone(write: Write): boolean {
    return write.length === 3;
  }

  protected override show(cell: string, winner: Write | undefined): void {
    const key = JSON.parse(cell) as string;
    if (winner && !this.isTombstone(winner)) this.shown.set(key, winner[3]!);
    else this.shown.delete(key);
  }

  private entries(): ReadonlyMap<string, Json> {
    this.decide();
    return this.shown;
  }
}

// A map from names to objects of any type, also maps: a to-do list, a form, a board. Nested objects are changed through
// `update`. A key is there as long as there is something to see under it.
export class ORMap extends Replicated implements Owner {
  static override readonly kind = "ormap";
  static override readonly stamped: boolean = true;

  private readonly children = new Map<string, Map<string, Replicated>>();
  private readonly shown = new Map<string, Replicated>();
  private readonly changed = new Set<string>();
  private readonly updating: [nested: Replicated, made: ORMap][] = [];

  get value(): Record<string, unknown> {
    return fromEntries([...this.objects()].map(([key, nested]) => [key, nested.value]));
  }

  get size(): number {
    return this.objects().size;
  }

  // Changes the object of that type under that key, which is made if it isn't there; all changes as one delta.
  update<R extends Replicated>(key: string, kind: Kind<R>, change: (nested: R) => unknown): ORMap {
    if (kind.kind === ORMap.kind && this.depth() === MAX_NESTING) {
      throw new InvalidValue(`maps are nested at most ${MAX_NESTING} deep`);
    }
    const nested = this.nested(checkKey(key), kind);
    const made = new ORMap();
    this.updating.push([nested, made]);
    try {
      change(nested);
    } finally {
      this.updating.pop();
      this.prune(key, kind.kind);
    }
    return made;
  }

  // Removes what is seen under the key: a concurrent change of the object survives, alone.
  remove(key: string): this {
    const seen = [...(this.children.get(key)?.values() ?? [])].flatMap((nested) => nested._dots());
    return this._commit([], Context.of(seen));
  }

  clear(): this {
    return this._commit([], Context.of(this._dots()));
  }

  // The object of that type under that key, to read; an empty one if it isn't there.
  at<R extends Replicated>(key: string, kind: Kind<R>): R {
    return (this.children.get(key)?.get(kind.kind) as R | undefined) ?? new kind();
  }

  // The types' names under a key; more than one if they were made concurrently.
  kinds(key: string): string[] {
    const kinds = [...(this.children.get(key) ?? [])].filter(([, nested]) => nested._shows());
    return kinds.map(([name]) => name).sort(compareText);
  }

  // The object under the key, to read.
  get(key: string): Replicated | undefined {
    return this.objects().get(key);
  }

  has(key: string): boolean {
    return this.objects().has(key);
  }

  keys(): string[] {
    return [...this.objects().keys()];
  }

  [Symbol.iterator](): Iterator<[string, Replicated]> {
    return [...this.objects()][Symbol.iterator]();
  }

  // For the nested object: makes its change a change of this map.
  _commitNested<R extends Replicated>(key: string, nested: R, items: Json[], ended: Context): R {
    if (!this.updating.length) throw new ReadOnly("a nested object is changed through ORMap.update");
    const wrapped = items.map((item): Json => [key, nested._kind.kind, item]);
    const delta = this._commit(wrapped, ended);
    for (const [, made] of this.updating) made._join(delta);
    const inner = nested._empty();
    inner._context.update(delta._context);
    for (const [[replica, number], item] of delta._items()) inner._put(replica, number, (item as Json[])[2]!);
    return inner;
  }

  static _check(item: Json): void {
    for (let depth = 0; depth < MAX_NESTING; depth++) {
      if (!Array.isArray(item) || item.length !== 3 || typeof item[0] !== "string" || typeof item[1] !== "string") {
        throw new Malformed("a map's item is a key, a type's name and an item");
      }
      const kind = KINDS.get(item[1]);
      if (!kind) throw new Malformed("a map holds an object of an unknown type");
      item = item[2]!;
      if (kind.kind !== ORMap.kind) return kind._check(item);
    }
    throw new Malformed(`maps are nested at most ${MAX_NESTING} deep`);
  }

  static override _stamp(item: Json): Stamp | null {
    const [, name, inner] = item as [string, string, Json];
    return KINDS.get(name)!._stamp(inner);
  }

  override _enter([replica, number]: Dot, item: Json): void {
    const [key, name, inner] = item as [string, string, Json];
    this.nested(key, KINDS.get(name)!)._put(replica, number, inner);
    this.changed.add(key);
  }

  override _leave([replica, number]: Dot, item: Json): void {
    const [key, name] = item as [string, string, Json];
    this.children.get(key)!.get(name)!._drop(replica, number);
    this.changed.add(key);
    this.prune(key, name);
  }

  override _shows(): boolean {
    return this.size > 0;
  }

  override _garbage(stable: Context): Dot[] {
    return [...this.children.values()].flatMap((kinds) =>
      [...kinds.values()].flatMap((nested) => nested._garbage(stable)),
    );
  }

  // What there is to see; brought up to date for the keys that have changed.
  private objects(): ReadonlyMap<string, Replicated> {
    for (const key of this.changed) {
      const [first] = this.kinds(key);
      if (first === undefined) this.shown.delete(key);
      else this.shown.set(key, this.children.get(key)!.get(first)!);
    }
    this.changed.clear();
    return this.shown;
  }

  // The object under the key, made if it isn't there; it shares context, replica id and clock with this map.
  private nested<R extends Replicated>(key: string, kind: Kind<R>): R {
    let kinds = this.children.get(key);
    if (!kinds) this.children.set(key, (kinds = new Map<string, Replicated>()));
    let nested = kinds.get(kind.kind);
    if (!nested) {
      kinds.set(kind.kind, (nested = new kind()));
      nested._replica = this._replica;
      nested._clock = this._clock;
      nested._context = this._context;
      nested._owner = [this, key];
    }
    return nested as R;
  }

  // 1 for a map that stands alone.
  private depth(): number {
    return this._owner ? 1 + (this._owner[0] as ORMap).depth() : 1;
  }

  // Forgets the object if nothing is left in it and nobody is changing it.
  private prune(key: string, name: string): void {
    const kinds = this.children.get(key)!;
    const nested = kinds.get(name)!;
    if (!nested._live.size && this.updating.every(([each]) => each !== nested)) kinds.delete(name);
    if (kinds.size) return;
    this.children.delete(key);
    this.changed.delete(key);
    this.shown.delete(key);
  }
}

// All types by the name that encoded states carry.
export const KINDS: ReadonlyMap<string, Kind> = new Map<string, Kind>(
  [
    GCounter,
    PNCounter,
    LWWRegister,
    MVRegister,
    GSet,
    TwoPhaseSet,
    LWWSet,
    ORSet,
    LWWMap,
    ORMap,
    EnableWinsFlag,
    DisableWinsFlag,
    Fugue,
  ].map((kind) => [kind.kind, kind]),
);

function checkKey(key: string): string {
  if (typeof key !== "string") throw new InvalidValue("a key is a string");
  freeze(key);
  return key;
}
