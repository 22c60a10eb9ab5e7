// Flags: on or off, and which one wins when both are said at once. See flag.py.

import { Context } from "./causal";
import { Malformed } from "./errors";
import { Replicated } from "./replicated";
import type { Json } from "./value";

// A live dot is somebody's vote for the side that wins.
abstract class Flag extends Replicated {
  protected vote(): this {
    return this._commit([null], Context.of(this._dots()));
  }

  protected withdraw(): this {
    return this._commit([], Context.of(this._dots()));
  }

  static _check(item: Json): void {
    if (item !== null) throw new Malformed("a flag's item is null");
  }
}

// Off at first; on if there is an enable that no disable has seen.
export class EnableWinsFlag extends Flag {
  static override readonly kind = "ewflag";

  get value(): boolean {
    return this._live.size > 0;
  }

  enable(): this {
    return this.vote();
  }

  // Ends the enables seen here.
  disable(): this {
    return this.withdraw();
  }
}

// On at first; off if there is a disable that no enable has seen.
export class DisableWinsFlag extends Flag {
  static override readonly kind = "dwflag";

  get value(): boolean {
    return this._live.size === 0;
  }

  disable(): this {
    return this.vote();
  }

  // Ends the disables seen here.
  enable(): this {
    return this.withdraw();
  }
}
