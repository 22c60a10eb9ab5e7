// Clocks that stamp writes, to order concurrent ones. See clock.py.

import { Exhausted, FutureClock } from "./errors";

export type Stamp = readonly [ms: number, seq: number];

export const MAX_SEQ = 0xffff;
export const DEFAULT_MAX_AHEAD_MS = 60_000;

export interface Clock {
  // The stamp of an event that happens now, greater than all before.
  tick(): Stamp;
  // Another replica's stamp has been seen; throws FutureClock if it can't be believed.
  observe(stamp: Stamp): void;
}

// Counts; believes every stamp.
export class Lamport implements Clock {
  private last: Stamp = [0, 0];

  tick(): Stamp {
    this.last = after(this.last);
    return this.last;
  }

  observe(stamp: Stamp): void {
    if (compareStamps(stamp, this.last) > 0) this.last = stamp;
  }
}

// Wall-clock time that never runs backwards and never falls behind what it has seen.
export class HLC implements Clock {
  offsetMs = 0; // what is added to `now`; see `correct`
  private last: Stamp = [0, 0];

  // now: milliseconds since 1970. maxAheadMs: how far ahead of it a stamp may lie; null believes every stamp, as a
  // client does that hears nobody but its server.
  constructor(
    private readonly now: () => number,
    readonly maxAheadMs: number | null = DEFAULT_MAX_AHEAD_MS,
  ) {}

  // The corrected wall clock.
  read(): number {
    return Math.max(0, Math.floor(this.now()) + this.offsetMs);
  }

  tick(): Stamp {
    const wall = this.read();
    this.last = wall > this.last[0] ? [wall, 0] : after(this.last);
    return this.last;
  }

  observe(stamp: Stamp): void {
    const aheadMs = stamp[0] - this.read();
    if (this.maxAheadMs !== null && aheadMs > this.maxAheadMs) throw new FutureClock(aheadMs, this.maxAheadMs);
    if (compareStamps(stamp, this.last) > 0) this.last = stamp;
  }

  // Learns its offset from the server's clock; the only place where time may go back.
  correct(referenceMs: number): void {
    this.offsetMs = referenceMs - Math.floor(this.now());
    if (this.last[0] > referenceMs + (this.maxAheadMs ?? DEFAULT_MAX_AHEAD_MS)) this.last = [Math.max(0, referenceMs), 0];
  }
}

export function compareStamps(one: Stamp, other: Stamp): number {
  return one[0] - other[0] || one[1] - other[1];
}

function after([ms, seq]: Stamp): Stamp {
  if (seq < MAX_SEQ) return [ms, seq + 1];
  if (ms >= Number.MAX_SAFE_INTEGER) throw new Exhausted("no stamp can follow");
  return [ms + 1, 0];
}
