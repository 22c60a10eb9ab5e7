// Registers: one value, set as a whole. See register.py.

import { Context } from "./causal";
import { Malformed } from "./errors";
import { Replicated, compareDots } from "./replicated";
import { Stamped, type Write, checkStamp } from "./stamped";
import { type Json, freeze, thaw } from "./value";

// The value that was set last: a title, a colour, a setting.
export class LWWRegister<V = unknown> extends Stamped {
  static override readonly kind = "lww";

  private shown: Json = null;

  // null as long as nothing was set.
  get value(): V | null {
    this.decide();
    return thaw<V | null>(this.shown);
  }

  set(value: V): this {
    return this.write(null, freeze(value));
  }

  static _check(item: Json): void {
    checkStamp(item, 3);
  }

  protected override cellOf(_write: Write): Json {
    return null;
  }

  protected override show(_cell: string, winner: Write | undefined): void {
    this.shown = winner ? winner[2]! : null;
  }
}

// All values that were set concurrently, for the application or a person to choose from.
export class MVRegister<V = unknown> extends Replicated {
  static override readonly kind = "mv";

  // Ordered by replica; empty as long as nothing was set.
  get value(): V[] {
    return this._items()
      .sort(([one], [other]) => compareDots(one, other))
      .map(([, item]) => thaw<V>((item as [Json])[0]));
  }

  // Replaces all values seen here.
  set(value: V): this {
    const frozen = freeze(value);
    return this._commit([[frozen]], Context.of(this._dots()));
  }

  static _check(item: Json): void {
    if (!Array.isArray(item) || item.length !== 1) throw new Malformed("a register's item is one value in an array");
  }
}
