// A list with a place for everything: Fugue. See sequence.py.

import { Context, type Dot } from "./causal";
import { Malformed } from "./errors";
import { LEFT, Places, RIGHT, ROOT, type Side } from "./places";
import { Replicated, compareDots, dotKey } from "./replicated";
import { type Json, freeze, thaw } from "./value";

// A list that many edit: the order of tasks, a headline. For small lists; text that people write together belongs into
// a Yjs document.
export class Fugue<V = unknown> extends Replicated {
  static override readonly kind = "fugue";

  private readonly places = new Places();
  private readonly values = new Map<string, Json>();
  private readonly deletions = new Map<string, { place: Dot; dots: Map<string, Dot> }>();

  get value(): V[] {
    return this.places.shown().map((place) => thaw<V>(this.values.get(dotKey(place))!));
  }

  get length(): number {
    return this.places.shown().length;
  }

  at(index: number): V | undefined {
    const place = this.places.shown()[index];
    return place && thaw<V>(this.values.get(dotKey(place))!);
  }

  [Symbol.iterator](): Iterator<V> {
    return this.value[Symbol.iterator]();
  }

  // Before what is at `index`; at the end for `length`.
  insert(index: number, ...values: V[]): this {
    if (!Number.isInteger(index) || index < 0 || index > this.length) throw new RangeError(`no index ${index}`);
    const items: Json[] = [];
    let [parent, side] = this.places.origin(index);
    let number = this._context.next(this._replica);
    for (const value of values.map((each) => freeze(each))) {
      items.push([side, ...parent], [value]);
      [parent, side] = [[this._replica, number], RIGHT];
      number += 2;
    }
    return this._commit(items, new Context());
  }

  append(...values: V[]): this {
    return this.insert(this.length, ...values);
  }

  // Deletes `count` elements from `index` on.
  delete(index: number, count = 1): this {
    const whole = Number.isInteger(index) && Number.isInteger(count);
    if (!whole || index < 0 || count < 0 || index + count > this.length) throw new RangeError(`no index ${index}`);
    const places = this.places.shown().slice(index, index + count);
    const items = places.map((place): Json => [...place]);
    return this._commit(items, Context.of(places.map(([replica, number]): Dot => [replica, number + 1])));
  }

  static _check(item: Json): void {
    if (Array.isArray(item)) {
      if (item.length === 1) return;
      if (item.length === 2 && typeof item[0] === "string" && isNumber(item[1])) return;
      if (item.length === 3) {
        const [side, replica, number] = item;
        if ((side === LEFT || side === RIGHT) && typeof replica === "string" && replica && isNumber(number)) return;
        if (side === RIGHT && replica === ROOT[0] && number === ROOT[1]) return;
      }
    }
    throw new Malformed("a list's item is a place, a value or a deletion");
  }

  override _enter(dot: Dot, item: Json): void {
    const fields = item as Json[];
    if (fields.length === 1) {
      const place = before(dot);
      this.values.set(dotKey(place), fields[0]!);
      this.places.fill(place);
    } else if (fields.length === 2) {
      const place = fields as unknown as Dot;
      let deletion = this.deletions.get(dotKey(place));
      if (!deletion) this.deletions.set(dotKey(place), (deletion = { place, dots: new Map<string, Dot>() }));
      deletion.dots.set(dotKey(dot), dot);
    } else {
      const [side, replica, number] = fields as unknown as [Side, string, number];
      this.places.add(dot, [replica, number], side);
    }
  }

  override _leave(dot: Dot, item: Json): void {
    const fields = item as Json[];
    if (fields.length === 1) {
      const place = before(dot);
      this.values.delete(dotKey(place));
      this.places.empty(place);
    } else if (fields.length === 2) {
      const key = dotKey(fields as unknown as Dot);
      const { dots } = this.deletions.get(key)!;
      dots.delete(dotKey(dot));
      if (!dots.size) this.deletions.delete(key);
    } else this.places.remove(dot);
  }

  override _shows(): boolean {
    return this.values.size > 0;
  }

  // Of the deletions that everybody knows: places with nothing below, and what deletes a place that is lost.
  override _garbage(stable: Context): Dot[] {
    const settled = new Map(
      [...this.deletions].filter(([, { dots }]) => [...dots.values()].every((dot) => stable.has(...dot))),
    );
    const deleted = [...settled.values()].map(({ place }) => place);
    const empty = deleted.filter((place) => this.places.has(place) && !this.values.has(dotKey(place)));
    const ends = this.places.deadEnds(empty);
    const lost = deleted.filter((place) => !this.places.has(place));
    const garbage = [...ends, ...[...ends, ...lost].flatMap((place) => [...settled.get(dotKey(place))!.dots.values()])];
    return garbage.sort(compareDots);
  }
}

function isNumber(value: Json | undefined): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0;
}

// The place of a value's dot.
function before([replica, number]: Dot): Dot {
  return [replica, number - 1];
}
