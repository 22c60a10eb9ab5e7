// Who is in the room: a snapshot (presence), and what changes it (join and leave).

import type { PresenceResult } from "centrifuge";

import { type Member, memberOf } from "./member";

export interface MembersListener {
  changed(members: Member[]): void;
  came(member: Member): void;
  went(member: Member): void;
}

export class Members {
  private here = new Map<string, Member>();
  private later: (() => void)[] | null = null; // what changed while a snapshot is on its way

  constructor(private readonly listener: MembersListener) {}

  join(member: Member): void {
    this.change(() => {
      if (this.here.has(member.client)) return;
      this.here.set(member.client, member);
      this.listener.came(member);
    });
  }

  leave(member: Member): void {
    this.change(() => {
      if (this.here.delete(member.client)) this.listener.went(member);
    });
  }

  // Replaces what is known by a snapshot. Rejects as `load` does, and then nothing is replaced.
  async refresh(load: () => Promise<PresenceResult>): Promise<void> {
    const later: (() => void)[] = [];
    this.later = later;
    try {
      const { clients } = await load();
      if (this.later !== later) return; // a newer snapshot was asked for meanwhile
      this.here = new Map(Object.entries(clients).map(([client, info]) => [client, memberOf(info)]));
    } finally {
      if (this.later === later) {
        this.later = null;
        later.forEach((change) => change());
        this.tell();
      }
    }
  }

  private change(change: () => void): void {
    if (this.later) {
      this.later.push(change);
    } else {
      change();
      this.tell();
    }
  }

  private tell(): void {
    this.listener.changed([...this.here.values()].sort((a, b) => a.name.localeCompare(b.name)));
  }
}
