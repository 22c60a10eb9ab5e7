// A text that many write at once: CodeMirror, Yjs, and the Hocuspocus provider, because its wire acknowledges each edit.

import { defaultKeymap } from "@codemirror/commands";
import { EditorState } from "@codemirror/state";
import { EditorView, keymap, placeholder } from "@codemirror/view";
import { HocuspocusProvider, HocuspocusProviderWebsocket, WebSocketStatus } from "@hocuspocus/provider";
import { yCollab, yUndoManagerKeymap } from "y-codemirror.next";
import { Doc, UndoManager } from "yjs";

import { Acknowledged } from "./acknowledged";
import { standingOf } from "./standing";

const chosen = new URLSearchParams(location.search);
const name = chosen.get("name")?.trim().slice(0, 40);
const documentName = chosen.get("document")?.trim();
if (name && documentName) open(name, documentName);

function open(name: string, documentName: string): void {
  byId("entrance").hidden = true;
  byId("page").hidden = false;
  byId("title").textContent = document.title = documentName;

  const doc = new Doc();
  const text = doc.getText("content");
  const url = new URL("hocuspocus", location.href);
  url.protocol = url.protocol.replace("http", "ws");
  url.search = "";
  let status: WebSocketStatus = WebSocketStatus.Connecting;
  let refused = "";
  let edited = false; // here, since the last time that all of it was known to be on disk
  const acknowledged = new Acknowledged(() => show());
  const provider = new HocuspocusProvider({
    websocketProvider: new HocuspocusProviderWebsocket({ url: url.href, WebSocketPolyfill: acknowledged.socket() }),
    name: documentName,
    document: doc,
    onStatus: (now) => {
      status = now.status;
      show();
    },
    onAuthenticationFailed: ({ reason }) => {
      refused = reason;
      show();
    },
    onAwarenessChange: () => showMembers(),
  });
  const awareness = provider.awareness!; // made by the provider unless it is told not to
  const hue = doc.clientID % 360;
  awareness.setLocalStateField("user", { name, color: `hsl(${hue} 65% 35%)`, colorLight: `hsl(${hue} 65% 50% / 25%)` });

  const undoManager = new UndoManager(text);
  const view = new EditorView({
    parent: byId("editor"),
    state: EditorState.create({
      doc: text.toString(),
      extensions: [
        keymap.of([...yUndoManagerKeymap, ...defaultKeymap]),
        EditorView.lineWrapping,
        EditorView.contentAttributes.of({ "aria-label": "Text" }),
        placeholder("Write something"),
        yCollab(text, awareness, { undoManager }),
      ],
    }),
  });
  provider.attach();
  view.focus();
  show();
  showMembers();

  // After the provider's own listener, so that what is sent has been counted.
  doc.on("update", (_update, origin) => {
    if (origin === provider) return;
    edited = true;
    show();
  });
  addEventListener("beforeunload", (event) => {
    if (edited) event.preventDefault();
  });

  function show(): void {
    const connected = status === WebSocketStatus.Connected;
    const saved = connected && acknowledged.everything && !refused;
    if (saved) edited = false;
    const { kind, words } = standingOf({ connected, saved, edited, refused });
    byId("state").dataset.kind = kind;
    byId("state").textContent = words;
  }

  function showMembers(): void {
    const items = [...awareness.getStates()].map(([client, { user }]) => {
      const item = document.createElement("li");
      item.style.setProperty("--hue", String(client % 360));
      item.textContent = `${user?.name ?? "anonymous"}${client === doc.clientID ? " (you)" : ""}`;
      return item;
    });
    byId("members").replaceChildren(...items);
  }
}

function byId(id: string): HTMLElement {
  return document.getElementById(id)!;
}
