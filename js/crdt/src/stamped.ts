// What the last-writer-wins types share: cells, in each of which the newest write shows. See stamped.py.

import { Context, type Dot } from "./causal";
import { MAX_SEQ, type Stamp } from "./clock";
import { Malformed, ReadOnly } from "./errors";
import { Replicated, compareDots, dotKey } from "./replicated";
import { type Json, written } from "./value";

// A write: (ms, seq, …).
export type Write = [ms: number, seq: number, ...content: Json[]];

export abstract class Stamped extends Replicated {
  static override readonly stamped: boolean = true;

  // By the canonical JSON of their names.
  private readonly cells = new Map<string, Map<string, [Dot, Write]>>();
  private readonly undecided = new Set<string>();

  static override _stamp(item: Json): Stamp {
    const [ms, seq] = item as Write;
    return [ms, seq];
  }

  // The name of the cell that a write belongs to.
  protected abstract cellOf(write: Write): Json;

  // A cell's newest write has changed; undefined: there is none.
  protected abstract show(cell: string, winner: Write | undefined): void;

  protected isTombstone(_write: Write): boolean {
    return false;
  }

  protected write(cell: Json, ...content: Json[]): this {
    if (!this._clock) throw new ReadOnly("a delta, or a state without a replica id, isn't changed");
    const seen = [...(this.cells.get(written(cell))?.values() ?? [])];
    return this._commit([[...this._clock.tick(), ...content]], Context.of(seen.map(([dot]) => dot)));
  }

  // Shows what has changed; before each read.
  protected decide(): void {
    for (const cell of this.undecided) {
      this.show(cell, newest(this.cells.get(cell)!.values()));
    }
    this.undecided.clear();
  }

  override _enter(dot: Dot, item: Json): void {
    const cell = written(this.cellOf(item as Write));
    let writes = this.cells.get(cell);
    if (!writes) this.cells.set(cell, (writes = new Map<string, [Dot, Write]>()));
    writes.set(dotKey(dot), [dot, item as Write]);
    this.undecided.add(cell);
  }

  override _leave(dot: Dot, item: Json): void {
    const cell = written(this.cellOf(item as Write));
    const writes = this.cells.get(cell)!;
    writes.delete(dotKey(dot));
    this.undecided.add(cell);
    if (writes.size) return;
    // At once: nobody may ever read, and the cells of the past are without number.
    this.cells.delete(cell);
    this.undecided.delete(cell);
    this.show(cell, undefined);
  }

  // Cells whose newest write deletes, once all their writes are stable.
  override _garbage(stable: Context): Dot[] {
    return [...this.cells.values()].flatMap((writes) => {
      const dots = [...writes.values()].map(([dot]) => dot);
      const ended = this.isTombstone(newest(writes.values())) && dots.every((dot) => stable.has(...dot));
      return ended ? dots : [];
    });
  }
}

// Throws Malformed unless the item is a stamp and as many fields as make up one of these lengths.
export function checkStamp(item: Json, ...lengths: number[]): asserts item is Write {
  if (!Array.isArray(item) || !lengths.includes(item.length)) throw new Malformed("a stamped item has the wrong shape");
  const [ms, seq] = item as [Json, Json];
  if (!isCount(ms) || !isCount(seq) || seq > MAX_SEQ) {
    throw new Malformed("a stamp is two whole numbers, the second up to 65535");
  }
}

function isCount(value: Json): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function newest(writes: Iterable<[Dot, Write]>): Write {
  return [...writes].reduce((one, other) => (compareWrites(one, other) > 0 ? one : other))[1];
}

// By stamp, then by dot: a tie is broken the same everywhere.
function compareWrites([dot, [ms, seq]]: [Dot, Write], [otherDot, [otherMs, otherSeq]]: [Dot, Write]): number {
  return ms - otherMs || seq - otherSeq || compareDots(dot, otherDot);
}
