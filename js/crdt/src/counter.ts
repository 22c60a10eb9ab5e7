// Counters: everybody's changes add up. See counter.py.

import { Context, type Dot } from "./causal";
import { Exhausted, InvalidValue, Malformed } from "./errors";
import { Replicated } from "./replicated";
import type { Json } from "./value";

// Sums are exact whatever their size; only what is shown is rounded to a number.
abstract class Counter extends Replicated {
  private total = 0n;

  get value(): number {
    return Number(this.total);
  }

  // Adds a positive integer.
  increment(by = 1): this {
    return this._add(positive(by));
  }

  _add(amount: number): this {
    if (this._owner) return this._commit([amount], new Context());
    let total = BigInt(amount);
    for (const item of this._live.get(this._replica)?.values() ?? []) total += BigInt(item as number);
    if (!Number.isSafeInteger(Number(total))) throw new Exhausted("a replica's total stays within ±(2^53 - 1)");
    // All its totals so far, also those that the receiver has missed: else an older one would be added to this.
    return this._commit([Number(total)], new Context([[this._replica, this._context.next(this._replica) - 1]]));
  }

  override _enter(_dot: Dot, item: Json): void {
    this.total += BigInt(item as number);
  }

  override _leave(_dot: Dot, item: Json): void {
    this.total -= BigInt(item as number);
  }
}

// A counter that only grows: likes, views, votes.
export class GCounter extends Counter {
  static override readonly kind = "gcounter";

  static _check(item: Json): void {
    if (!Number.isSafeInteger(item) || (item as number) < 0) {
      throw new Malformed("a grow-only counter holds whole numbers from 0");
    }
  }
}

// A counter that goes up and down: stock, score, people in the room.
export class PNCounter extends Counter {
  static override readonly kind = "pncounter";

  // Takes away a positive integer.
  decrement(by = 1): this {
    return this._add(-positive(by));
  }

  static _check(item: Json): void {
    if (!Number.isSafeInteger(item)) throw new Malformed("a counter holds whole numbers");
  }
}

function positive(by: number): number {
  if (!Number.isSafeInteger(by) || by <= 0) throw new InvalidValue("a counter changes by a whole number from 1 to 2^53 - 1");
  return by;
}
