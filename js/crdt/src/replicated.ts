// The one state and the one merge behind every type: a causal store of live dots with items, and a context of all dots
// ever seen. See replicated.py, which this file follows line by line. Underscored members are for this package.

import { type Bounds, Context, type Dot, within } from "./causal";
import { type Clock, Lamport, type Stamp, compareStamps } from "./clock";
import { InvalidValue, KindMismatch, ReadOnly } from "./errors";
import { compareBytes, packed } from "./msgpack";
import { type Json, compareText, freeze, written } from "./value";

const MAX_REPLICA_BYTES = 255;

export interface Options {
  clock?: Clock | undefined; // stamps writes; default: a Lamport clock
}

// A type, as a class.
export interface Kind<R extends Replicated = Replicated> {
  new (replica?: string, options?: Options): R;
  readonly kind: string; // its name in encoded states
  readonly stamped: boolean; // whether items may carry stamps
  _check(item: Json): void; // throws Malformed
  _stamp(item: Json): Stamp | null;
}

export interface Owner {
  _commitNested<R extends Replicated>(key: string, nested: R, items: Json[], ended: Context): R;
}

export abstract class Replicated {
  static readonly kind: string = "";
  static readonly stamped: boolean = false;

  static _stamp(_item: Json): Stamp | null {
    return null;
  }

  _replica: string;
  _clock: Clock | undefined;
  _context = new Context();
  _owner: readonly [Owner, string] | null = null;
  readonly _live = new Map<string, Map<number, Json>>();

  // replica: the id under which this object makes changes, never shared by two states; "" only reads and merges.
  constructor(replica = "", { clock }: Options = {}) {
    if (replica) checkReplica(replica);
    this._replica = replica;
    this._clock = clock ?? (replica && this._kind.stamped ? new Lamport() : undefined);
  }

  abstract get value(): unknown;

  get replica(): string {
    return this._replica;
  }

  // What has been seen; a copy. A peer answers it with `deltaSince`.
  get context(): Context {
    return this._context.copy();
  }

  // Takes in a state or a delta of the same type, of any age; whether anything changed.
  merge(other: this): boolean {
    if (other._kind.kind !== this._kind.kind) throw new KindMismatch(this._kind.kind, other._kind.kind);
    // Its context is its map's: it would claim to have seen, and ended, what was never in it.
    if (this._owner || other._owner) throw new ReadOnly("a nested object merges with its map");
    const latest = other._stamps().sort(compareStamps).at(-1);
    if (latest) this._clock?.observe(latest);
    return this._join(other);
  }

  // What somebody who has seen `context` lacks; also heals what earlier deltas failed to bring.
  deltaSince(context: Context): this {
    const delta = this._empty();
    const known: [string, number[]][] = [];
    for (const [replica, items] of this._live) {
      known.push([replica, [...items.keys()].filter((number) => context.has(replica, number))]);
    }
    delta._context.update(this._context.without(known));
    for (const [[replica, number], item] of this._items()) {
      if (!context.has(replica, number)) delta._put(replica, number, item);
    }
    return delta;
  }

  // Drops garbage that nothing can refer to any more; how many dots. stable: what every replica has reported, each after
  // all it had made until then had been merged here.
  collect(stable: Context): number {
    if (this._owner) throw new ReadOnly("a nested object is collected with its map");
    const garbage = this._garbage(stable);
    for (const [replica, number] of garbage) this._drop(replica, number);
    return garbage.length;
  }

  // By state.
  equals(other: Replicated): boolean {
    return this._kind.kind === other._kind.kind && written(this._entries()) === written(other._entries());
  }

  _enter(_dot: Dot, _item: Json): void {}

  _leave(_dot: Dot, _item: Json): void {}

  // Whether a reader sees that somebody has been here: false if nothing is left but what `collect` may take away.
  _shows(): boolean {
    return this._live.size > 0;
  }

  _garbage(_stable: Context): Dot[] {
    return [];
  }

  get _kind(): Kind<this> {
    return this.constructor as Kind<this>;
  }

  _empty(): this {
    return new this._kind();
  }

  // Makes and merges the delta that ends some dots and gives each item a new one.
  _commit(items: Json[], ended: Context): this {
    if (this._owner) {
      const [owner, key] = this._owner;
      return owner._commitNested(key, this, items, ended);
    }
    if (!this._replica) throw new ReadOnly("a delta, or a state without a replica id, isn't changed");
    const delta = this._empty();
    delta._context.update(ended);
    if (items.length) {
      const first = this._context.next(this._replica);
      items.forEach((item, at) => delta._put(this._replica, first + at, item));
      delta._context.add(this._replica, first, first + items.length);
    }
    this._join(delta);
    return delta;
  }

  _join(other: Replicated): boolean {
    let changed = false;
    for (const [[replica, number], item] of other._items()) {
      const mine = this._live.get(replica)?.get(number);
      if (mine !== undefined) changed = this._settle(replica, number, mine, item) || changed;
      else if (!this._context.has(replica, number)) {
        this._put(replica, number, item);
        changed = true;
      }
    }
    for (const [replica, bounds] of other._context.entries()) {
      changed = this._end(replica, bounds, other._live.get(replica)) || changed;
    }
    return this._context.update(other._context) || changed;
  }

  private _end(replica: string, bounds: Readonly<Bounds>, theirs: Map<number, Json> | undefined): boolean {
    const mine = this._live.get(replica);
    if (!mine) return false;
    const doomed = within(mine, bounds).filter((number) => !theirs?.has(number));
    for (const number of doomed) this._drop(replica, number);
    return doomed.length > 0;
  }

  // One dot, two items: a replica id was used twice. The greater bytes stay.
  private _settle(replica: string, number: number, mine: Json, theirs: Json): boolean {
    if (mine === theirs || compareBytes(packed(mine), packed(theirs)) >= 0) return false;
    this._drop(replica, number);
    this._put(replica, number, theirs);
    return true;
  }

  _put(replica: string, number: number, item: Json): void {
    let items = this._live.get(replica);
    if (!items) this._live.set(replica, (items = new Map<number, Json>()));
    items.set(number, item);
    this._enter([replica, number], item);
  }

  _drop(replica: string, number: number): void {
    const items = this._live.get(replica)!;
    const item = items.get(number)!;
    items.delete(number);
    if (!items.size) this._live.delete(replica);
    this._leave([replica, number], item);
  }

  // All live dots with their items.
  _items(): [Dot, Json][] {
    return [...this._live].flatMap(([replica, items]) =>
      [...items].map(([number, item]): [Dot, Json] => [[replica, number], item]),
    );
  }

  _dots(): Dot[] {
    return this._items().map(([dot]) => dot);
  }

  _stamps(): Stamp[] {
    if (!this._kind.stamped) return [];
    return this._items()
      .map(([, item]) => this._kind._stamp(item))
      .filter((stamp) => stamp !== null);
  }

  // The canonical form: [replica, [from, to, …], number, item, number, item, …], all ascending.
  _entries(): Json[] {
    return [...this._context.entries()]
      .sort(([one], [other]) => compareText(one, other))
      .map(([replica, bounds]) => {
        const items = [...(this._live.get(replica) ?? [])].sort(([one], [other]) => one - other);
        return [replica, [...bounds], ...items.flat(1)];
      });
  }
}

export function checkReplica(replica: string): void {
  freeze(replica);
  const size = new TextEncoder().encode(replica).length;
  if (size === 0 || size > MAX_REPLICA_BYTES) throw new InvalidValue(`a replica id has 1 to ${MAX_REPLICA_BYTES} bytes`);
}

// A dot as a key of maps.
export function dotKey([replica, number]: Dot): string {
  return `${number} ${replica}`;
}

// Dots by replica, then by number.
export function compareDots(one: Dot, other: Dot): number {
  return compareText(one[0], other[0]) || one[1] - other[1];
}
