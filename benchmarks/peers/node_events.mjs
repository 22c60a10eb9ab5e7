// Server-Sent Events from node's http: each frame of /pub (a WebSocket, by ws) is written to all of /sub.
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const subscribers = new Set();
const http = createServer((request, response) => {
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
  response.flushHeaders();
  subscribers.add(response);
  response.on("close", () => subscribers.delete(response));
});
new WebSocketServer({ server: http, path: "/pub", perMessageDeflate: false }).on("connection", (socket) => {
  socket.on("message", (data) => {
    const event = `data: ${data}\n\n`;
    for (const subscriber of subscribers) subscriber.write(event);
  });
});
http.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () => console.log(`http://127.0.0.1:${http.address().port}`));
