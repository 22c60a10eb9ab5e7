// CRDTs: objects that many change at once, apart, and that end alike. The same types as `roomful.crdt` in Python, with
// the same bytes; docs/crdt.md says what each promises. No dependency: bundle `index.ts` with anything.

export { Context, type Dot } from "./causal";
export { type Clock, HLC, Lamport, type Stamp } from "./clock";
export {
  type LoadOptions,
  contextFromPlain,
  contextToPlain,
  fromJSON,
  fromMsgpack,
  fromPlain,
  toJSON,
  toMsgpack,
  toPlain,
} from "./codec";
export { GCounter, PNCounter } from "./counter";
export {
  CRDTError,
  Exhausted,
  FutureClock,
  InvalidValue,
  KindMismatch,
  Malformed,
  ReadOnly,
  RemovedForever,
} from "./errors";
export { DisableWinsFlag, EnableWinsFlag } from "./flag";
export { KINDS, LWWMap, ORMap } from "./map";
export { LWWRegister, MVRegister } from "./register";
export { type Kind, Replicated } from "./replicated";
export { Fugue } from "./sequence";
export { GSet, LWWSet, ORSet, TwoPhaseSet } from "./set";
export type { Element, Json } from "./value";
