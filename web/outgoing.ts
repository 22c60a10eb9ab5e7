// What we want to say, until it is known what became of it.
//
// waiting   there is no connection; it goes out when there is one
// sending   it went out, the answer isn't here
// sent      the server answered, or we saw it in the room
// refused   the server answered that it won't
// unknown   the connection ended before the answer came
//
// A recovery proves the fate of what is unknown: if everything that was missed is here and it isn't among that, the
// server never had it, and it goes out again. Without such proof only a person may say it a second time.

export interface Said {
  id: string; // the sender's, so that one message is never shown twice
  text: string;
  at: number; // milliseconds since 1970, by the sender's clock
}

export type Delivery =
  | { state: "waiting" | "sending" | "sent" | "unknown" }
  | { state: "refused"; reason: string };

// Client-side errors of the SDK have codes below this, the server's answers have not.
const FIRST_SERVER_CODE = 100;

export class Outgoing {
  private readonly fates = new Map<string, { said: Said; delivery: Delivery }>();
  private isOpen = false;

  // publish: resolves with the server's answer. tell: what became of a message, now.
  constructor(
    private readonly publish: (said: Said) => Promise<unknown>,
    private readonly tell: (said: Said, delivery: Delivery) => void,
  ) {}

  // Messages that nobody is known to have.
  get waiting(): number {
    return [...this.fates.values()].filter(({ delivery }) => delivery.state !== "refused").length;
  }

  add(said: Said): void {
    this.become(said, { state: "waiting" });
    this.flush();
  }

  again(id: string): void {
    const entry = this.fates.get(id);
    if (entry) this.add(entry.said);
  }

  // It came back from the room.
  seen(id: string): void {
    const entry = this.fates.get(id);
    if (entry?.delivery.state === "unknown") this.become(entry.said, { state: "sent" });
  }

  // There is a connection. complete: everything missed has been seen, so what is unknown still was never published.
  open(complete: boolean): void {
    this.isOpen = true;
    for (const { said, delivery } of this.fates.values()) {
      if (complete && delivery.state === "unknown") this.become(said, { state: "waiting" });
    }
    this.flush();
  }

  close(): void {
    this.isOpen = false;
  }

  private flush(): void {
    if (!this.isOpen) return;
    for (const { said, delivery } of [...this.fates.values()]) {
      if (delivery.state === "waiting") void this.send(said);
    }
  }

  private async send(said: Said): Promise<void> {
    this.become(said, { state: "sending" });
    try {
      await this.publish(said);
      this.become(said, { state: "sent" });
    } catch (error) {
      const { code, message } = error as { code: number; message: string };
      const refused = code >= FIRST_SERVER_CODE;
      this.become(said, refused ? { state: "refused", reason: message } : { state: "unknown" });
    }
  }

  private become(said: Said, delivery: Delivery): void {
    if (delivery.state === "sent") this.fates.delete(said.id);
    else this.fates.set(said.id, { said, delivery });
    this.tell(said, delivery);
  }
}
