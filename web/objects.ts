// The three objects of a board, as this page knows them.

import { GCounter, HLC, LWWMap, ORMap, Replicated, fromPlain, toPlain } from "../js/crdt/src/index";

export class Objects {
  constructor(
    readonly likes = new GCounter(),
    readonly todo = new ORMap(), // id → {title: LWWRegister, done: EnableWinsFlag}
    readonly poll = new LWWMap<string>(), // voter → choice
  ) {}

  // What the server tells. An object of another name or type isn't the board's: an application may share more.
  merge(name: string, plain: unknown): void {
    const delta = fromPlain(plain, Replicated);
    for (const [own, object] of Object.entries(this) as [string, Replicated][]) {
      if (own === name && object.constructor === delta.constructor) object.merge(delta);
    }
  }

  // To try open edits on: under this replica id nothing is ever sent.
  copy(): Objects {
    const options = { replica: "here", clock: new HLC(Date.now, null) };
    return new Objects(
      fromPlain(toPlain(this.likes), GCounter, options),
      fromPlain(toPlain(this.todo), ORMap, options),
      fromPlain(toPlain(this.poll), LWWMap<string>, options),
    );
  }

  get tasks(): [id: string, task: { title?: string; done?: boolean }][] {
    return Object.entries(this.todo.value as Record<string, { title?: string; done?: boolean }>);
  }
}
