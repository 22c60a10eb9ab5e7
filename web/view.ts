// The page: shows what a room tells, and nothing that it doesn't.

import { button, byId, element, hue } from "./elements";
import type { Member } from "./member";
import type { Delivery, Said } from "./outgoing";
import type { Listener, Message, Status } from "./room";

const DELIVERIES = {
  waiting: "waiting for the connection",
  sending: "sending …",
  sent: "sent",
  unknown: "no answer: sent or lost, nobody knows yet",
};

export class View implements Listener {
  private readonly rows = new Map<string, HTMLElement>(); // messages by id
  private countdown = 0;

  // again: somebody wants a message said once more.
  constructor(private readonly again: (id: string) => void) {
    byId("newer").addEventListener("click", () => this.toNewest());
    this.log.addEventListener("scroll", () => {
      if (this.atNewest()) byId("newer").hidden = true;
    });
  }

  status(status: Status): void {
    clearInterval(this.countdown);
    byId("countdown").textContent = "";
    byId("state-text").textContent = describe(status);
    byId("state").dataset.kind = status.kind;
    byId("now").hidden = status.kind !== "waiting";
    const live = ["connected", "recovered", "gap", "restarted"].includes(status.kind);
    byId("room").classList.toggle("stale", !live);
    byId("plug").textContent = status.kind === "offline" ? "Go online" : "Go offline";
    byId("plug").hidden = status.kind === "ended";
    byId("members-title").textContent = live ? "Here now" : "Last seen here";
    if (status.kind === "waiting") {
      const show = (): void => {
        byId("countdown").textContent = ` in ${Math.max(0, Math.ceil((status.until - Date.now()) / 1000))} s`;
      };
      show();
      this.countdown = setInterval(show, 200);
    }
  }

  message(message: Message): void {
    const row = this.row(message);
    if (!row.classList.contains("own")) {
      row.querySelector(".author")!.textContent = message.author.name;
      row.style.setProperty("--hue", hue(message.author.name));
    }
    this.place(row, message.order);
  }

  delivery(said: Said, delivery: Delivery): void {
    const isNew = !this.rows.has(said.id);
    const follow = isNew || this.atNewest();
    const row = this.row(said);
    row.classList.add("own");
    row.dataset.delivery = delivery.state;
    const line = row.querySelector<HTMLElement>(".delivery")!;
    line.textContent = delivery.state === "refused" ? `refused: ${delivery.reason}` : DELIVERIES[delivery.state];
    if (delivery.state === "refused" || delivery.state === "unknown") {
      line.append(" ", button("Send again", () => this.again(said.id)));
    }
    if (isNew) this.place(row, Infinity);
    if (follow) this.toNewest();
  }

  note(order: number, text: string, lost = false): void {
    const row = element("li", lost ? "note lost" : "note");
    row.textContent = text;
    this.place(row, order + 0.5);
  }

  members(members: Member[], own: string): void {
    byId("members").replaceChildren(
      ...members.map(({ client, name }) => {
        const item = element("li");
        item.style.setProperty("--hue", hue(name));
        item.textContent = name;
        if (client === own) item.append(element("span", "you", " (you)"));
        return item;
      }),
    );
  }

  private row(said: Said): HTMLElement {
    const known = this.rows.get(said.id);
    if (known) return known;
    const row = element("li", "message");
    const time = element("time", "", new Date(said.at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
    time.setAttribute("datetime", new Date(said.at).toISOString());
    const head = element("p", "head");
    head.append(element("span", "author", "You"), " ", time);
    row.append(head, element("p", "text", said.text), element("p", "delivery"));
    this.rows.set(said.id, row);
    return row;
  }

  // Puts a row where its order says; what has the same order stays in the order it came.
  private place(row: HTMLElement, order: number): void {
    const follow = this.atNewest();
    row.dataset.order = String(order);
    let next: Element | null = null;
    for (let last = this.log.lastElementChild; last; last = last.previousElementSibling) {
      if (last === row) continue;
      if (Number((last as HTMLElement).dataset.order) <= order) break;
      next = last;
    }
    if (row.nextElementSibling !== next || !row.isConnected) this.log.insertBefore(row, next);
    if (follow) this.toNewest();
    else byId("newer").hidden = false;
  }

  private get log(): HTMLElement {
    return byId("log");
  }

  private atNewest(): boolean {
    return this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 40;
  }

  private toNewest(): void {
    this.log.scrollTop = this.log.scrollHeight;
    byId("newer").hidden = true;
  }
}

function describe(status: Status): string {
  switch (status.kind) {
    case "connecting":
      return "connecting …";
    case "waiting":
      return "reconnecting";
    case "reconnecting":
      return "reconnecting …";
    case "offline":
      return "offline: what you do waits";
    case "connected":
      return "connected";
    case "recovered":
      return status.messages === 1 ? "recovered: 1 message" : `recovered: ${status.messages || "no"} messages`;
    case "gap":
      return `gap: messages missed between offset ${status.after} and ${status.before}`;
    case "restarted":
      return `gap: messages missed after offset ${status.after}`;
    case "ended":
      return `disconnected: ${status.reason} (${status.code})`;
  }
}
