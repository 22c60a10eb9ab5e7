// The demo: a chat with members and a board, over nothing but the Centrifuge SDK and the types of js/crdt.

import { BoardView } from "./board_view";
import { byId } from "./elements";
import { Room } from "./room";
import { View } from "./view";

const entrance = byId("entrance") as HTMLFormElement;
const composer = byId("composer") as HTMLFormElement;

// The room can be linked to: …/#lobby
const linked = decodeURIComponent(location.hash.slice(1));
if (linked) field(entrance, "room").value = linked;

entrance.addEventListener("submit", (event) => {
  event.preventDefault();
  enter(field(entrance, "name").value.trim(), field(entrance, "room").value);
});

function enter(name: string, roomName: string): void {
  // Relative to this page, which may be mounted below a prefix.
  const endpoint = new URL("connection/websocket", location.href);
  endpoint.protocol = endpoint.protocol.replace("http", "ws");
  endpoint.hash = "";

  const view = new View((id) => room.sayAgain(id));
  const boardView = new BoardView(name, () => room.board);
  const room = new Room(endpoint.href, name, roomName, view, boardView);

  history.replaceState(null, "", `#${roomName}`);
  document.title = `${roomName} – Roomful`;
  byId("title").textContent = roomName;
  entrance.hidden = true;
  byId("room").hidden = false;
  field(composer, "text").focus();

  composer.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = field(composer, "text").value.trim();
    field(composer, "text").value = "";
    if (text) room.say(text);
  });
  byId("now").addEventListener("click", () => room.reconnectNow());
  let offline = false;
  byId("plug").addEventListener("click", () => room.setOffline((offline = !offline)));
  const tabs = ["chat", "board"];
  for (const tab of tabs) {
    byId(`show-${tab}`).addEventListener("click", () => {
      byId("room").dataset.tab = tab;
      for (const each of tabs) byId(`show-${each}`).ariaPressed = String(each === tab);
    });
  }
  addEventListener("beforeunload", (event) => {
    if (room.waiting) event.preventDefault();
  });
  // The page begins anew: nothing of the old room is left behind.
  byId("leave").addEventListener("click", () => {
    room.leave();
    location.reload();
  });
  room.join();
}

function field(form: HTMLFormElement, name: string): HTMLInputElement {
  return form.elements.namedItem(name) as HTMLInputElement;
}
