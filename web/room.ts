// One room over the Centrifuge SDK: who is here, what was said, what is shared, and what is known about the connection.
//
// Nothing here touches the page; a `Listener` is told what happened.

import { Centrifuge, type PublicationContext, type SubscribedContext, type Subscription } from "centrifuge";

import { Board, type BoardListener } from "./board";
import { type Member, memberOf } from "./member";
import { Members } from "./members";
import { type Delivery, Outgoing, type Said } from "./outgoing";
import { randomId } from "./random";
import { Reconnect } from "./reconnect";

const HISTORY = 50;

export type Status =
  | { kind: "connecting" }
  | { kind: "waiting"; until: number } // until: the next attempt, as Date.now() counts
  | { kind: "reconnecting" }
  | { kind: "offline" } // because we were told to
  | { kind: "connected" }
  | { kind: "recovered"; messages: number }
  | { kind: "gap"; after: number; before: number } // what lies between these two offsets is lost
  | { kind: "restarted"; after: number } // the room's log began anew: what came after this offset is lost
  | { kind: "ended"; code: number; reason: string };

// order: where it belongs among everything that happened in the room.
export interface Message extends Said {
  order: number;
  author: Member;
}

export interface Listener {
  status(status: Status): void;
  message(message: Message): void;
  delivery(said: Said, delivery: Delivery): void;
  note(order: number, text: string, lost?: boolean): void;
  members(members: Member[], own: string): void;
}

export class Room {
  readonly board: Board;
  private readonly client: Centrifuge;
  private readonly subscription: Subscription;
  private readonly facet: Subscription;
  private readonly members: Members;
  private readonly outgoing: Outgoing;
  private readonly reconnect: Reconnect;
  private readonly shown = new Set<string>();
  private own = "";
  private offline = false;
  private epoch = "";
  private epochs = 0; // how many there have been
  private offset = 0; // the newest seen in this epoch
  private life = 0; // counts the times that the room was lost; what began in an earlier life has nothing to say

  constructor(
    endpoint: string,
    name: string,
    room: string,
    private readonly listener: Listener,
    boardListener: BoardListener,
  ) {
    this.reconnect = new Reconnect((until) => {
      if (!this.offline) listener.status(until === null ? { kind: "reconnecting" } : { kind: "waiting", until });
    });
    this.client = new Centrifuge(endpoint, {
      ...this.reconnect.options,
      getData: async () => {
        await this.reconnect.turn();
        return { name };
      },
    });
    this.client.on("connected", ({ client }) => {
      this.own = client;
      this.reconnect.succeeded();
    });
    this.client.on("disconnected", ({ code, reason }) => {
      listener.status(this.offline ? { kind: "offline" } : { kind: "ended", code, reason });
    });

    this.subscription = this.client.newSubscription(`chat:${room}`, { recoverable: true, joinLeave: true });
    this.subscription.on("subscribed", (context) => void this.subscribed(context));
    this.subscription.on("subscribing", () => this.lose());
    this.subscription.on("unsubscribed", ({ code, reason }) => {
      this.lose();
      listener.status({ kind: "ended", code, reason });
    });
    this.subscription.on("publication", (publication) => this.publication(publication));
    this.subscription.on("join", ({ info }) => this.members.join(memberOf(info)));
    this.subscription.on("leave", ({ info }) => this.members.leave(memberOf(info)));

    this.facet = this.client.newSubscription(`state:chat:${room}`);
    this.board = new Board(this.facet, boardListener);

    this.members = new Members({
      changed: (members) => {
        listener.members(members, this.own);
        boardListener.here(members.map((member) => member.name));
      },
      came: (member) => member.client !== this.own && this.note(`${member.name} came`),
      went: (member) => this.note(`${member.name} left`),
    });
    this.outgoing = new Outgoing(
      (said) => this.subscription.publish(said),
      (said, delivery) => listener.delivery(said, delivery),
    );
  }

  join(): void {
    this.listener.status({ kind: "connecting" });
    this.subscription.subscribe();
    this.facet.subscribe();
    this.client.connect();
  }

  leave(): void {
    this.reconnect.stop();
    this.client.disconnect();
  }

  reconnectNow(): void {
    this.reconnect.now();
  }

  // Pulls the plug, or puts it back: to see what becomes of what is done meanwhile.
  setOffline(offline: boolean): void {
    this.offline = offline;
    if (offline) {
      this.client.disconnect();
    } else {
      this.reconnect.reset();
      this.client.connect();
    }
  }

  get waiting(): number {
    return this.outgoing.waiting + this.board.waiting;
  }

  say(text: string): void {
    this.outgoing.add({ id: randomId(), text, at: Date.now() });
  }

  sayAgain(id: string): void {
    this.outgoing.again(id);
  }

  private lose(): void {
    this.life += 1;
    this.outgoing.close();
    if (this.client.state === "connected") this.listener.status({ kind: "reconnecting" });
  }

  private async subscribed({ wasRecovering, recovered, streamPosition }: SubscribedContext): Promise<void> {
    const life = this.life;
    const last = this.offset;
    const head = streamPosition ?? { epoch: "", offset: 0 };
    const restarted = head.epoch !== this.epoch;
    if (restarted) {
      this.epoch = head.epoch;
      this.epochs += 1;
      this.offset = 0;
    }
    void this.loadMembers(life);

    let status: Status = { kind: "connected" };
    if (wasRecovering && recovered) {
      await Promise.resolve(); // the SDK hands over what was recovered right after this event, before any promise goes on
      status = { kind: "recovered", messages: this.offset - last };
    } else {
      const kept = await this.loadHistory(life);
      if (wasRecovering) status = this.verdict(restarted, last, kept, head.offset);
    }
    if (life !== this.life) return;
    this.listener.status(status);
    this.outgoing.open(status.kind === "recovered");
  }

  // What a recovery that failed has cost. kept: the offsets that the server still had, ascending.
  private verdict(restarted: boolean, last: number, kept: number[], head: number): Status {
    if (restarted) {
      this.listener.note(this.order(0), `The room's log began anew: what came after message ${last} is lost`, true);
      return { kind: "restarted", after: last };
    }
    const before = kept.find((offset) => offset > last) ?? head + 1;
    if (before === last + 1) return { kind: "recovered", messages: head - last };
    this.listener.note(this.order(last), `Messages ${last + 1} to ${before - 1} were missed`, true);
    return { kind: "gap", after: last, before };
  }

  // Shows the newest messages that the server keeps.
  private async loadHistory(life: number): Promise<number[]> {
    try {
      const { publications } = await this.subscription.history({ limit: HISTORY, reverse: true });
      publications.reverse().forEach((publication) => this.publication(publication));
      return publications.map(({ offset }) => offset ?? 0);
    } catch (error) {
      this.explain(life, "What was said before can't be shown", error);
      return [];
    }
  }

  private async loadMembers(life: number): Promise<void> {
    try {
      await this.members.refresh(() => this.subscription.presence());
    } catch (error) {
      this.explain(life, "Who is here can't be shown", error);
    }
  }

  // Of a life that is over nothing needs explaining: the same is asked again in the next.
  private explain(life: number, what: string, error: unknown): void {
    if (life === this.life) this.note(`${what}: ${(error as { message: string }).message}`);
  }

  private publication({ data, info, offset = 0 }: PublicationContext): void {
    this.offset = Math.max(this.offset, offset);
    const said = saidIn(data, `${this.epoch}:${offset}`);
    if (this.shown.has(said.id)) return;
    this.shown.add(said.id);
    const author = info ? memberOf(info) : { client: "", name: "the application" };
    this.listener.message({ ...said, author, order: this.order(offset) });
    this.outgoing.seen(said.id);
  }

  private note(text: string): void {
    this.listener.note(this.order(this.offset), text);
  }

  private order(offset: number): number {
    return this.epochs * 2 ** 40 + offset;
  }
}

// What the page's own clients publish, or anything else that an application published to the room.
function saidIn(data: unknown, id: string): Said {
  const { id: own, text, at } = (data ?? {}) as Record<string, unknown>;
  return {
    id: typeof own === "string" ? own : id,
    text: typeof text === "string" ? text : JSON.stringify(data),
    at: typeof at === "number" ? at : Date.now(),
  };
}
