// Sets. They differ in what a removal means to an addition that it hasn't seen. See set.py.

import { Context, type Dot } from "./causal";
import { Malformed, RemovedForever } from "./errors";
import { Replicated, dotKey } from "./replicated";
import { Stamped, type Write, checkStamp } from "./stamped";
import { type Element, type Json, freeze, freezeElement, isElement, thaw, written } from "./value";

const ADDED = 1;
const REMOVED = 0;

// The dots of elements, by the elements' canonical JSON.
class Dots {
  private readonly found = new Map<string, Map<string, Dot>>();

  has(element: string): boolean {
    return this.found.has(element);
  }

  of(element: string): Dot[] {
    return [...(this.found.get(element)?.values() ?? [])];
  }

  add(element: string, dot: Dot): void {
    let dots = this.found.get(element);
    if (!dots) this.found.set(element, (dots = new Map<string, Dot>()));
    dots.set(dotKey(dot), dot);
  }

  remove(element: string, dot: Dot): void {
    const dots = this.found.get(element)!;
    dots.delete(dotKey(dot));
    if (!dots.size) this.found.delete(element);
  }
}

// The reading side, from the elements by their canonical JSON.
function values<E>(elements: ReadonlyMap<string, Json>): E[] {
  return [...elements.values()].map((element) => thaw<E>(element));
}

function holds(elements: ReadonlyMap<string, Json>, element: unknown): boolean {
  return elements.has(written(freeze(element)));
}

abstract class DotSet<E extends Element> extends Replicated {
  protected readonly elements = new Map<string, Json>();
  protected readonly added = new Dots();

  get value(): E[] {
    return values<E>(this.elements);
  }

  get size(): number {
    return this.elements.size;
  }

  has(element: E): boolean {
    return holds(this.elements, element);
  }

  [Symbol.iterator](): Iterator<E> {
    return this.value[Symbol.iterator]();
  }

  static _check(item: Json): void {
    if (!isElement(item)) throw new Malformed("a set holds strings, numbers and arrays of them");
  }

  override _enter(dot: Dot, item: Json): void {
    const key = written(item);
    this.elements.set(key, item);
    this.added.add(key, dot);
  }

  override _leave(dot: Dot, item: Json): void {
    const key = written(item);
    this.added.remove(key, dot);
    if (!this.added.has(key)) this.elements.delete(key);
  }
}

// A set that only grows: who has seen the notice.
export class GSet<E extends Element = Element> extends DotSet<E> {
  static override readonly kind = "gset";

  add(element: E): this {
    const frozen = freezeElement(element);
    const mine = this.added.of(written(frozen)).filter(([replica]) => replica === this._replica);
    return this._commit([frozen], Context.of(mine));
  }
}

// A set where an addition wins over a concurrent removal: tags, members, selected cells.
export class ORSet<E extends Element = Element> extends DotSet<E> {
  static override readonly kind = "orset";

  add(element: E): this {
    const frozen = freezeElement(element);
    return this._commit([frozen], Context.of(this.added.of(written(frozen))));
  }

  // Removes only what it has seen; an empty delta if that is nothing.
  remove(element: E): this {
    return this._commit([], Context.of(this.added.of(written(freezeElement(element)))));
  }

  // Removes all elements seen here.
  clear(): this {
    return this._commit([], Context.of(this._dots()));
  }
}

// A set where what was removed stays out for ever: revoked keys, finished jobs.
export class TwoPhaseSet<E extends Element = Element> extends Replicated {
  static override readonly kind = "2pset";

  private readonly shown = new Map<string, Json>();
  private readonly added = new Dots();
  private readonly removed = new Dots();

  get value(): E[] {
    return values<E>(this.shown);
  }

  get size(): number {
    return this.shown.size;
  }

  has(element: E): boolean {
    return holds(this.shown, element);
  }

  [Symbol.iterator](): Iterator<E> {
    return this.value[Symbol.iterator]();
  }

  add(element: E): this {
    const frozen = freezeElement(element);
    if (this.removed.has(written(frozen))) throw new RemovedForever("a two-phase set takes no removed element back");
    return this.vote(frozen, ADDED);
  }

  // An empty delta if it isn't in the set.
  remove(element: E): this {
    const frozen = freezeElement(element);
    return this.has(element) ? this.vote(frozen, REMOVED) : this._commit([], new Context());
  }

  static _check(item: Json): void {
    if (!Array.isArray(item) || item.length !== 2 || !isElement(item[0]!) || !isSide(item[1]!)) {
      throw new Malformed("a two-phase set's item is an element and 0 or 1");
    }
  }

  override _enter(dot: Dot, item: Json): void {
    const [element, side] = item as [Json, number];
    this.side(side).add(written(element), dot);
    this.count(element);
  }

  override _leave(dot: Dot, item: Json): void {
    const [element, side] = item as [Json, number];
    this.side(side).remove(written(element), dot);
    this.count(element);
  }

  override _shows(): boolean {
    return this.shown.size > 0;
  }

  private vote(element: Json, side: number): this {
    const key = written(element);
    const votes = [...this.added.of(key), ...this.removed.of(key)];
    return this._commit([[element, side]], Context.of(votes.filter(([replica]) => replica === this._replica)));
  }

  private side(side: number): Dots {
    return side === ADDED ? this.added : this.removed;
  }

  private count(element: Json): void {
    const key = written(element);
    if (this.added.has(key) && !this.removed.has(key)) this.shown.set(key, element);
    else this.shown.delete(key);
  }
}

// A set where for each element the last of add and remove counts, by clock where they are concurrent.
export class LWWSet<E extends Element = Element> extends Stamped {
  static override readonly kind = "lwwset";

  private readonly shown = new Map<string, Json>();

  get value(): E[] {
    return values<E>(this.elements());
  }

  get size(): number {
    return this.elements().size;
  }

  has(element: E): boolean {
    return holds(this.elements(), element);
  }

  [Symbol.iterator](): Iterator<E> {
    return this.value[Symbol.iterator]();
  }

  add(element: E): this {
    const frozen = freezeElement(element);
    return this.write(frozen, frozen, ADDED);
  }

  // Stamped too, and recorded even if the element isn't in the set.
  remove(element: E): this {
    const frozen = freezeElement(element);
    return this.write(frozen, frozen, REMOVED);
  }

  static _check(item: Json): void {
    checkStamp(item, 4);
    if (!isElement(item[2]!) || !isSide(item[3]!)) {
      throw new Malformed("a last-writer-wins set's item is a stamp, an element and 0 or 1");
    }
  }

  override _shows(): boolean {
    return this.size > 0;
  }

  protected override cellOf(write: Write): Json {
    return write[2]!;
  }

  protected override isTombstone(write: Write): boolean {
    return write[3] === REMOVED;
  }

  protected override show(cell: string, winner: Write | undefined): void {
    if (winner && winner[3] === ADDED) this.shown.set(cell, winner[2]!);
    else this.shown.delete(cell);
  }

  private elements(): ReadonlyMap<string, Json> {
    this.decide();
    return this.shown;
  }
}

function isSide(item: Json): boolean {
  return item === ADDED || item === REMOVED;
}
