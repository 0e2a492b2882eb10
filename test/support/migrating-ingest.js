/** A process that migrates the archive and opens it when it gets SIGUSR2; before that, it answers nothing. */
import { Socket } from "node:net";
import { frameReader, writeFrame } from "../../dist/receive/ingest/frames.js";

const pipe = new Socket({ fd: 3, readable: true, writable: true });
let open;
pipe.on("end", () => process.exit(0));
pipe.on(
  "data",
  frameReader(({ header }) => {
    if (header.op !== "open") {
      writeFrame(pipe, { id: header.id, ok: true, value: null });
      return;
    }
    open = header;
    writeFrame(pipe, { notice: "migrating", from: 1, to: 2 });
  }),
);
process.on("SIGUSR2", () => {
  const spool = { unparsed: 0, oldest: null, newest: null };
  writeFrame(pipe, { id: open.id, ok: true, value: null, spool });
});
