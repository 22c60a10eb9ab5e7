// The board on the page.

import type { Board, BoardListener, Shown, Task } from "./board";
import { button, byId, element, hue } from "./elements";

const CHOICES = ["Coffee", "Tea", "Water"];

export class BoardView implements BoardListener {
  private readonly rows = new Map<string, HTMLElement>(); // tasks by id
  private readonly choices = CHOICES.map((choice) => this.choice(choice));
  private shown: Shown = { likes: 0, tasks: [], votes: {}, waiting: 0 };
  private present = new Set<string>();
  private trouble = "";
  private asked = false;

  // me: under which name votes are given. edits: where what is done here goes to.
  constructor(
    private readonly me: string,
    private readonly edits: () => Board,
  ) {
    byId("like").addEventListener("click", () => this.edits().like());
    const form = byId("new-task") as HTMLFormElement;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const input = form.elements.namedItem("title") as HTMLInputElement;
      const title = input.value.trim();
      input.value = "";
      if (title) this.edits().addTask(title);
    });
    byId("poll").replaceChildren(...this.choices);
    this.render();
  }

  board(shown: Shown): void {
    this.shown = shown;
    this.changed();
  }

  here(names: string[]): void {
    this.present = new Set(names);
    this.changed();
  }

  problem(text: string): void {
    this.trouble = text;
    this.changed();
  }

  // Once a frame: an answer and the news of the same edit come together, and are shown together.
  private changed(): void {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => {
      this.asked = false;
      this.render();
    });
  }

  private render(): void {
    const { likes, tasks, votes, waiting } = this.shown;
    byId("likes").textContent = String(likes);
    byId("board-note").textContent = this.trouble || waitingFor(waiting);
    byId("board-note").classList.toggle("trouble", this.trouble !== "");
    this.renderTasks(tasks);
    CHOICES.forEach((choice, index) => {
      const voters = Object.keys(votes).filter((voter) => votes[voter] === choice);
      this.renderChoice(this.choices[index]!, choice, voters.sort((one, other) => one.localeCompare(other)));
    });
  }

  private renderTasks(tasks: Task[]): void {
    const ids = new Set(tasks.map(({ id }) => id));
    for (const [id, row] of this.rows) {
      if (ids.has(id)) continue;
      row.remove();
      this.rows.delete(id);
    }
    // In place, so that whoever works by keyboard stays where they are.
    tasks.forEach(({ id, title, done, waits }, index) => {
      const row = this.rows.get(id) ?? this.row(id);
      const box = row.querySelector("input")!;
      box.checked = done;
      row.classList.toggle("waits", waits);
      row.querySelector(".title")!.textContent = title;
      row.querySelector("button")!.ariaLabel = `Remove ${title}`;
      const at = byId("todo").children[index];
      if (at !== row) byId("todo").insertBefore(row, at ?? null);
    });
  }

  private row(id: string): HTMLElement {
    const row = element("li");
    const label = element("label");
    const box = element("input") as HTMLInputElement;
    box.type = "checkbox";
    box.addEventListener("change", () => this.edits().tick(id, box.checked));
    label.append(box, element("span", "title"));
    row.append(label, button("×", () => this.edits().removeTask(id)));
    this.rows.set(id, row);
    return row;
  }

  private choice(choice: string): HTMLElement {
    const item = element("li");
    const press = button("", () => {
      if (this.shown.votes[this.me] === choice) this.edits().takeBack(this.me);
      else this.edits().vote(this.me, choice);
    });
    press.append(element("span", "name", choice), element("span", "count"), element("span", "voters"));
    item.append(press);
    return item;
  }

  // In the colour of each voter; pale, whoever isn't here.
  private renderChoice(item: HTMLElement, choice: string, voters: string[]): void {
    const press = item.querySelector("button")!;
    press.ariaPressed = String(this.shown.votes[this.me] === choice);
    item.querySelector(".count")!.textContent = String(voters.length);
    item.querySelector(".voters")!.replaceChildren(
      ...voters.map((voter) => {
        const gone = !this.present.has(voter);
        const mark = element("span", gone ? "voter gone" : "voter", voter);
        mark.style.setProperty("--hue", hue(voter));
        if (gone) mark.title = "not here now";
        return mark;
      }),
    );
  }
}

function waitingFor(edits: number): string {
  if (!edits) return "Saved";
  return edits === 1 ? "1 change not saved" : `${edits} changes not saved`;
}
