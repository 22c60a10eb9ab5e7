// What a room shares beside its chat: likes, a to-do list and a poll, over the facet `state:`.
//
// The page has a copy of each object, and a list of edits that the server hasn't answered yet. They go out one after the
// other, and wait while there is no connection. Each has a key under which the server does it once, so that it is simply
// sent again when nobody knows whether it arrived. What is shown is the copy, with the open edits done to it.
//
// Nothing here touches the page; a `BoardListener` is told what happened.

import type { Subscription } from "centrifuge";

import { EnableWinsFlag, LWWRegister, ORMap, type Replicated } from "../js/crdt/src/index";
import { Objects } from "./objects";
import { randomId } from "./random";

export interface Task {
  id: string;
  title: string;
  done: boolean;
  waits: boolean; // an edit of it is open
}

export interface Shown {
  likes: number;
  tasks: Task[]; // oldest first
  votes: Record<string, string>; // voter → choice
  waiting: number; // edits that the server hasn't answered
}

export interface BoardListener {
  board(shown: Shown): void;
  here(names: string[]): void; // who is in the room
  problem(text: string): void; // "": there is none any more
}

// change: as the server takes it. here: the same, done to the page's own objects. task: which one it is about.
interface Edit {
  change: object;
  here: (objects: Objects) => void;
  task: string;
}

const PAUSE_MS = 1000; // before the server is asked again what it couldn't do just now
const FIRST_SERVER_CODE = 100; // the SDK's own errors have codes below: nobody knows what became of the change

export class Board {
  private objects = new Objects();
  private open: Edit[] = [];
  private connected = false;
  private losses = 0; // of the facet
  private life: number | undefined; // which of the room's states this is; another one: everything was deleted
  private sending = false;

  constructor(
    private readonly subscription: Subscription,
    private readonly listener: BoardListener,
  ) {
    subscription.on("subscribed", ({ data }) => this.begin(data));
    subscription.on("publication", ({ data }) => {
      this.objects.merge(data.object, data.delta);
      this.show();
    });
    subscription.on("subscribing", () => this.lose());
    subscription.on("unsubscribed", ({ code, reason }) => {
      this.lose();
      listener.problem(`The board can't be shown: ${reason} (${code})`);
    });
  }

  get waiting(): number {
    return this.open.length;
  }

  like(): void {
    this.edit({ object: "likes", type: "gcounter", op: "increment" }, ({ likes }) => likes.increment());
  }

  vote(voter: string, choice: string): void {
    const change = { object: "poll", type: "lwwmap", op: "set", key: voter, value: choice };
    this.edit(change, ({ poll }) => poll.set(voter, choice));
  }

  takeBack(voter: string): void {
    this.edit({ object: "poll", type: "lwwmap", op: "delete", key: voter }, ({ poll }) => poll.delete(voter));
  }

  addTask(title: string): void {
    const id = `${Date.now().toString(36).padStart(9, "0")}-${randomId()}`; // sorts by age
    const change = { path: [[id, "ormap"], ["title", "lww"]], op: "set", value: title };
    this.editTask(id, change, (task) => task.update("title", LWWRegister, (it) => it.set(title)));
  }

  tick(id: string, done: boolean): void {
    const op = done ? "enable" : "disable";
    const change = { path: [[id, "ormap"], ["done", "ewflag"]], op };
    this.editTask(id, change, (task) => task.update("done", EnableWinsFlag, (it) => it[op]()));
  }

  removeTask(id: string): void {
    this.edit({ object: "todo", type: "ormap", op: "remove", key: id }, ({ todo }) => todo.remove(id), id);
  }

  private editTask(id: string, change: object, here: (task: ORMap) => Replicated): void {
    this.edit({ object: "todo", type: "ormap", ...change }, ({ todo }) => todo.update(id, ORMap, here), id);
  }

  private edit(change: object, here: Edit["here"], task = ""): void {
    this.open.push({ change: { ...change, life: this.life, idempotency_key: randomId() }, here, task });
    this.show();
    void this.send();
  }

  private begin({ life, objects }: { life: number; objects: [name: string, state: unknown][] }): void {
    this.life = life;
    this.objects = new Objects();
    for (const [name, state] of objects) this.objects.merge(name, state);
    this.connected = true;
    this.listener.problem("");
    this.show();
    void this.send();
  }

  private lose(): void {
    this.connected = false;
    this.losses += 1;
  }

  // One after the other: a task is made before it is ticked, whatever is lost on the way.
  private async send(): Promise<void> {
    if (this.sending) return;
    this.sending = true;
    while (this.connected && this.open.length) await this.sendFirst(this.open[0]!.change);
    this.sending = false;
  }

  private async sendFirst(change: object): Promise<void> {
    const losses = this.losses;
    try {
      await this.subscription.publish(change);
    } catch (error) {
      if (losses !== this.losses) return; // it goes out again when the facet is back
      const { code, message, temporary } = error as { code: number; message: string; temporary?: boolean };
      if (code < FIRST_SERVER_CODE || temporary) {
        await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
        return;
      }
      this.listener.problem(`A change was refused: ${message}`);
    }
    this.open.shift();
    this.show();
  }

  private show(): void {
    const objects = this.open.length ? this.objects.copy() : this.objects;
    for (const { here } of this.open) here(objects);
    const edited = new Set(this.open.map(({ task }) => task));
    // A task without a title is what is left of one that was removed and ticked at the same time.
    const tasks = objects.tasks.filter(([, { title }]) => title !== undefined);
    tasks.sort(([one], [other]) => (one < other ? -1 : 1));
    this.listener.board({
      likes: objects.likes.value,
      tasks: tasks.map(([id, { title = "", done = false }]) => ({ id, title, done, waits: edited.has(id) })),
      votes: objects.poll.value,
      waiting: this.open.length,
    });
  }
}
