// Hocuspocus without extensions: documents in memory.
import { Server } from "@hocuspocus/server";

const port = Number(process.argv[2]);
await new Server({ address: "127.0.0.1", port, quiet: true, stopOnSignals: true }).listen();
console.log(`http://127.0.0.1:${port}`);
