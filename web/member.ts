// A connection as others see it.

import type { ClientInfo } from "centrifuge";

export interface Member {
  client: string; // the connection: one person in two tabs is here twice
  name: string;
}

export function memberOf(info: ClientInfo): Member {
  const name: unknown = info.connInfo?.name;
  return { client: info.client, name: typeof name === "string" && name ? name : info.user || "anonymous" };
}
