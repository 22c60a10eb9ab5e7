// Dots and causal contexts: which events a state has seen. See causal.py.

import { Exhausted } from "./errors";

export type Dot = readonly [replica: string, number: number];

// Ranges as [from, to, from, to, …], strictly ascending, `to` excluded.
export type Bounds = number[];

export class Context {
  private readonly ranges = new Map<string, Bounds>();

  // vector: the first so many events of each replica.
  constructor(vector: Iterable<readonly [string, number]> = []) {
    for (const [replica, count] of vector) this.add(replica, 1, count + 1);
  }

  static of(dots: Iterable<Dot>): Context {
    const context = new Context();
    for (const [replica, number] of dots) context.add(replica, number);
    return context;
  }

  has(replica: string, number: number): boolean {
    const bounds = this.ranges.get(replica);
    return bounds !== undefined && above(bounds, number) % 2 === 1;
  }

  covers(replica: string, bounds: Bounds): boolean {
    const mine = this.ranges.get(replica) ?? [];
    return pairs(bounds).every(([start, stop]) => {
      const at = above(mine, start);
      return at % 2 === 1 && mine[at]! >= stop;
    });
  }

  // The number of that replica's next event.
  next(replica: string): number {
    const number = this.ranges.get(replica)?.at(-1) ?? 1;
    if (number >= Number.MAX_SAFE_INTEGER) throw new Exhausted("no event of this replica can follow");
    return number;
  }

  // Takes in the events from `start` up to and without `stop`; whether any was new.
  add(replica: string, start: number, stop = start + 1): boolean {
    if (start >= stop || this.covers(replica, [start, stop])) return false;
    const bounds = this.ranges.get(replica) ?? [];
    const left = from(bounds, start);
    const right = above(bounds, stop);
    bounds.splice(left, right - left, ...(left % 2 ? [] : [start]), ...(right % 2 ? [] : [stop]));
    this.ranges.set(replica, bounds);
    return true;
  }

  update(other: Context): boolean {
    let changed = false;
    for (const [replica, bounds] of other.ranges) {
      for (const [start, stop] of pairs(bounds)) changed = this.add(replica, start, stop) || changed;
    }
    return changed;
  }

  // A copy that lacks these dots.
  without(dots: Iterable<readonly [string, number[]]>): Context {
    const copy = this.copy();
    for (const [replica, numbers] of dots) {
      copy.put(replica, difference(copy.bounds(replica), pieces(numbers)));
    }
    return copy;
  }

  // The dots in both: of all replicas' contexts, what `collect` takes for stable.
  and(other: Context): Context {
    const both = new Context();
    for (const [replica, bounds] of this.ranges) {
      both.put(replica, difference(bounds, difference(bounds, other.bounds(replica))));
    }
    return both;
  }

  copy(): Context {
    const copy = new Context();
    for (const [replica, bounds] of this.ranges) copy.ranges.set(replica, [...bounds]);
    return copy;
  }

  entries(): Iterable<readonly [string, Readonly<Bounds>]> {
    return this.ranges;
  }

  bounds(replica: string): Bounds {
    return this.ranges.get(replica) ?? [];
  }

  private put(replica: string, bounds: Bounds): void {
    if (bounds.length) this.ranges.set(replica, bounds);
    else this.ranges.delete(replica);
  }
}

// The numbers of `live` that lie in the ranges; costs the smaller of the two.
export function within(live: ReadonlyMap<number, unknown>, bounds: Readonly<Bounds>): number[] {
  const ranges = pairs(bounds);
  if (ranges.reduce((sum, [start, stop]) => sum + stop - start, 0) > live.size) {
    return [...live.keys()].filter((number) => above(bounds, number) % 2 === 1);
  }
  const numbers: number[] = [];
  for (const [start, stop] of ranges) {
    for (let number = start; number < stop; number++) if (live.has(number)) numbers.push(number);
  }
  return numbers;
}

function pairs(bounds: Readonly<Bounds>): [number, number][] {
  const ranges: [number, number][] = [];
  for (let at = 0; at < bounds.length; at += 2) ranges.push([bounds[at]!, bounds[at + 1]!]);
  return ranges;
}

function pieces(numbers: number[]): Bounds {
  const bounds: Bounds = [];
  for (const number of [...numbers].sort((a, b) => a - b)) {
    if (bounds.at(-1) === number) bounds[bounds.length - 1] = number + 1;
    else bounds.push(number, number + 1);
  }
  return bounds;
}

// One sweep over both: the bounds at which "inside the first, outside the second" changes.
function difference(bounds: Bounds, taken: Bounds): Bounds {
  const result: Bounds = [];
  let i = 0;
  let j = 0;
  while (i < bounds.length || j < taken.length) {
    const here = Math.min(bounds[i] ?? Infinity, taken[j] ?? Infinity);
    if (bounds[i] === here) i++;
    if (taken[j] === here) j++;
    const kept = i % 2 === 1 && j % 2 === 0;
    if (kept !== (result.length % 2 === 1)) result.push(here);
  }
  return result;
}

// How many bounds are not greater; how many are less.
function above(bounds: Readonly<Bounds>, number: number): number {
  return search(bounds, (bound) => bound > number);
}

function from(bounds: Readonly<Bounds>, number: number): number {
  return search(bounds, (bound) => bound >= number);
}

function search(bounds: Readonly<Bounds>, beyond: (bound: number) => boolean): number {
  let low = 0;
  let high = bounds.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (beyond(bounds[middle]!)) high = middle;
    else low = middle + 1;
  }
  return low;
}
