// The places of a Fugue list, in order. See places.py; here the order is made anew after each change, in O(n log n).

import type { Dot } from "./causal";
import { compareDots, dotKey } from "./replicated";

// Where the list begins. It has right children only.
export const ROOT: Dot = ["", 0];

export const LEFT = 0;
export const RIGHT = 1;
export type Side = typeof LEFT | typeof RIGHT;

interface Place {
  readonly dot: Dot;
  readonly parent: Dot;
  readonly side: Side;
}

export class Places {
  private readonly places = new Map<string, Place>();
  private readonly children = new Map<string, [Dot[], Dot[]]>(); // unsorted
  private readonly filled = new Set<string>();
  private order: Dot[] | null = null;

  has(place: Dot): boolean {
    return this.places.has(dotKey(place));
  }

  // The places with something in them, in order; not to be changed.
  shown(): readonly Dot[] {
    return (this.order ??= this.walk());
  }

  // Where a new place hangs so that it comes before what is shown at `index`.
  origin(index: number): [parent: Dot, side: Side] {
    const shown = this.shown();
    const left = index ? shown[index - 1]! : ROOT;
    if (index === shown.length || !this.children.get(dotKey(left))?.[RIGHT].length) return [left, RIGHT];
    // Up from the next shown place to `left`: of the places on the way, the first in order takes the new one.
    let first = shown[index]!;
    for (let place = this.places.get(dotKey(first)); place; place = this.places.get(dotKey(place.parent))) {
      if (compareDots(place.parent, left) === 0) return [first, LEFT];
      if (place.side === RIGHT) first = place.parent;
    }
    return [left, RIGHT];
  }

  add(dot: Dot, parent: Dot, side: Side): void {
    this.places.set(dotKey(dot), { dot, parent, side });
    const key = dotKey(parent);
    let sides = this.children.get(key);
    if (!sides) this.children.set(key, (sides = [[], []]));
    sides[side].push(dot);
    this.order = null;
  }

  // The children of a removed place hang at the end of the list, in the order of their dots.
  remove(dot: Dot): void {
    const { parent, side } = this.places.get(dotKey(dot))!;
    this.places.delete(dotKey(dot));
    const key = dotKey(parent);
    const sides = this.children.get(key)!;
    sides[side] = sides[side].filter((sibling) => compareDots(sibling, dot) !== 0);
    if (!sides[LEFT].length && !sides[RIGHT].length) this.children.delete(key);
    this.order = null;
  }

  // Something is in it. It may be told before the place itself is known.
  fill(place: Dot): void {
    this.filled.add(dotKey(place));
    this.order = null;
  }

  empty(place: Dot): void {
    this.filled.delete(dotKey(place));
    this.order = null;
  }

  // Those of the candidates under which there is nothing but other such ones.
  deadEnds(candidates: Dot[]): Dot[] {
    const waiting = new Map(
      candidates.map((place) => [dotKey(place), this.children.get(dotKey(place))?.flat(1).length ?? 0]),
    );
    const ready = candidates.filter((place) => waiting.get(dotKey(place)) === 0);
    for (const place of ready) {
      const { parent } = this.places.get(dotKey(place))!;
      const count = waiting.get(dotKey(parent));
      if (count === undefined) continue;
      waiting.set(dotKey(parent), count - 1);
      if (count === 1) ready.push(parent);
    }
    return ready;
  }

  // In-order, without recursion: a typed run is one branch as deep as it is long.
  private walk(): Dot[] {
    const orphans: Dot[] = [];
    for (const [parent, sides] of this.children) {
      const lost = parent !== dotKey(ROOT) && !this.places.has(parent);
      for (const side of sides) {
        side.sort(compareDots);
        if (lost) for (const place of side) orphans.push(place);
      }
    }
    const shown: Dot[] = [];
    const stack: [Dot, boolean][] = [];
    const push = (places: readonly Dot[]): void => {
      for (const place of [...places].reverse()) stack.push([place, false]);
    };
    push([...(this.children.get(dotKey(ROOT))?.[RIGHT] ?? []), ...orphans.sort(compareDots)]);
    for (let top = stack.pop(); top; top = stack.pop()) {
      const [place, opened] = top;
      const key = dotKey(place);
      const sides = this.children.get(key);
      if (opened || !sides) {
        if (this.filled.has(key)) shown.push(place);
        continue;
      }
      push(sides[RIGHT]);
      stack.push([place, true]);
      push(sides[LEFT]);
    }
    return shown;
  }
}
