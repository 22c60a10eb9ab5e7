// What a page may say about its document: "saved" only for what the server has acknowledged, which it does from disk.

export interface Known {
  connected: boolean;
  saved: boolean; // the server has acknowledged all that is here
  edited: boolean; // here, since it was last saved
  refused: string; // why the server won't have this page; "": it didn't say so
}

export function standingOf({ connected, saved, edited, refused }: Known): { kind: string; words: string } {
  const loss = edited ? ": your changes are in this page only" : "";
  if (refused) return { kind: "ended", words: `refused (${refused})${loss}` };
  if (!connected) return { kind: "reconnecting", words: `not connected${loss}` };
  if (saved) return { kind: "connected", words: "saved" };
  return { kind: "connecting", words: edited ? "saving" : "connecting" };
}
