/**
 * A local mail sink for the tour: accepts every mail on 127.0.0.1:2526, writes it to ./var/sink and prints a line.
 * Run it with `node contrib/tour/sink.js [port [folder]]`.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SMTPServer } from "smtp-server";

const port = Number(process.argv[2] ?? 2526);
const folder = process.argv[3] ?? "var/sink";
mkdirSync(folder, { recursive: true });
let count = 0;

const server = new SMTPServer({
  authOptional: true,
  disabledCommands: ["AUTH", "STARTTLS"],
  disableReverseLookup: true,
  onData(stream, session, callback) {
    const chunks = [];
    stream.on("data", (chunk) => chunks.push(chunk));
    stream.on("end", () => {
      const raw = Buffer.concat(chunks);
      count++;
      const file = join(folder, `${count}.eml`);
      writeFileSync(file, raw);
      const subject = /^Subject: (.*(?:\r\n[ \t].*)*)/im.exec(raw.toString("latin1"))?.[1] ?? "(none)";
      const to = session.envelope.rcptTo.map((r) => r.address).join(", ");
      console.log(`${file}: to ${to}: ${subject.replace(/\s+/g, " ")}`);
      callback(null, `2.0.0 Ok: kept as ${file}`);
    });
  },
});
server.listen(port, "127.0.0.1", () =>
  console.log(`sink on 127.0.0.1:${server.server.address().port}, mails go to ${folder}`),
);
