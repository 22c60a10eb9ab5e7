// What of a document the server has acknowledged, counted on the socket itself. The provider's own count begins at 1 with
// each connection, while the edits that it queued without one are acknowledged singly: it reaches 0 after the first.

import { createDecoder, readVarInt, readVarString, readVarUint } from "lib0/decoding";

const SYNC = 0;
const SYNC_STATUS = 8;
const STEP_2 = 1; // all that this page has and the server hasn't; answered by one sync status, as is each update
const UPDATE = 2;

export class Acknowledged {
  private offered = false; // the page has answered what the server lacks, on this connection
  private open = 0;

  constructor(private readonly changed: () => void) {}

  get everything(): boolean {
    return this.offered && this.open === 0;
  }

  /** A WebSocket for the provider: each new one starts the count anew. */
  socket(): typeof WebSocket {
    const count = this;
    return class extends WebSocket {
      constructor(url: string | URL) {
        super(url);
        count.offered = false;
        count.open = 0;
        this.addEventListener("message", ({ data }) => count.received(data));
      }

      override send(data: Uint8Array<ArrayBuffer>): void {
        super.send(data);
        count.sent(data);
      }
    };
  }

  private sent(data: Uint8Array): void {
    const decoder = createDecoder(data);
    readVarString(decoder);
    if (readVarUint(decoder) !== SYNC) return;
    const step = readVarUint(decoder);
    if (step !== STEP_2 && step !== UPDATE) return;
    if (step === STEP_2) this.offered = true;
    this.open += 1;
    this.changed();
  }

  private received(data: unknown): void {
    if (!(data instanceof ArrayBuffer)) return;
    const decoder = createDecoder(new Uint8Array(data));
    readVarString(decoder);
    if (readVarUint(decoder) !== SYNC_STATUS || readVarInt(decoder) !== 1) return; // 0: refused, so never saved
    this.open -= 1;
    this.changed();
  }
}
