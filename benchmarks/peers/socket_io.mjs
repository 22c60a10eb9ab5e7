// socket.io: a room that clients join with "join"; what comes as "publish" is emitted to all of it; "echo" comes back.
import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http, { transports: ["websocket"], pingInterval: 600_000, serveClient: false });
io.on("connection", (socket) => {
  socket.on("join", () => socket.join("bench:room"));
  socket.on("publish", (data) => io.to("bench:room").emit("publication", data));
  socket.on("echo", (data) => socket.emit("echo", data));
});
http.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () => console.log(`http://127.0.0.1:${http.address().port}`));
