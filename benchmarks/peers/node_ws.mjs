// node's ws by itself: each frame of /pub goes to all of /sub; /echo sends back.
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const subscribers = new Set();
const http = createServer();
const server = new WebSocketServer({ server: http, perMessageDeflate: false });
server.on("connection", (socket, request) => {
  if (request.url === "/echo") {
    socket.on("message", (data) => socket.send(data, { binary: false }));
    return;
  }
  if (request.url !== "/pub") {
    subscribers.add(socket);
    socket.on("close", () => subscribers.delete(socket));
    socket.on("error", () => subscribers.delete(socket));
    return;
  }
  socket.on("message", (data) => {
    for (const subscriber of subscribers) subscriber.send(data, { binary: false });
  });
});
http.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () => console.log(`http://127.0.0.1:${http.address().port}`));
