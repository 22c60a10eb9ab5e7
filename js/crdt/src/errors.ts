// What the toolkit refuses; always before anything has changed. The same tree as in Python.

export class CRDTError extends Error {
  override name = "CRDTError";
}

// A value outside the domain (see value.ts).
export class InvalidValue extends CRDTError {
  override name = "InvalidValue";
}

// Bytes or a tree that no replica can have written.
export class Malformed extends CRDTError {
  override name = "Malformed";
}

export class KindMismatch extends CRDTError {
  override name = "KindMismatch";

  constructor(
    readonly wanted: string,
    readonly got: string,
  ) {
    super(`wanted ${wanted}, got ${got}`);
  }
}

// A change to what isn't a replica: a delta, a state without a replica id, a nested object outside `update`.
export class ReadOnly extends CRDTError {
  override name = "ReadOnly";
}

// A stamp too far ahead of this clock. Correct the clock, write again, and send the refused delta with the new one
// merged into it.
export class FutureClock extends CRDTError {
  override name = "FutureClock";

  constructor(
    readonly aheadMs: number,
    readonly limitMs: number,
  ) {
    super(`stamped ${aheadMs} ms ahead of this clock, ${limitMs} ms are let through`);
  }
}

// A two-phase set never takes back what was removed.
export class RemovedForever extends CRDTError {
  override name = "RemovedForever";
}

// A count, total or sequence number would exceed 2^53 - 1.
export class Exhausted extends CRDTError {
  override name = "Exhausted";
}
