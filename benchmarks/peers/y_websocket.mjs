// y-websocket's own server: documents in memory.
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { WebSocketServer } from "ws";

const { setupWSConnection } = createRequire(import.meta.url)("y-websocket/bin/utils");
const http = createServer();
new WebSocketServer({ server: http, perMessageDeflate: false }).on("connection", setupWSConnection);
http.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () => console.log(`http://127.0.0.1:${http.address().port}`));
