// node's ws by itself: each frame of /pub goes to all of /sub.
import { WebSocketServer } from "ws";

const subscribers = new Set();
const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false });
server.on("connection", (socket, request) => {
  if (request.url !== "/pub") {
    subscribers.add(socket);
    socket.on("close", () => subscribers.delete(socket));
    return;
  }
  socket.on("message", (data) => {
    for (const subscriber of subscribers) subscriber.send(data, { binary: false });
  });
});
server.on("listening", () => console.log(`http://127.0.0.1:${server.address().port}`));
