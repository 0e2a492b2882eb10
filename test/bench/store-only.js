/** The yardstick of the SMTP benchmark: smtp-server that stores the bytes, synced, before 250. */
import { join } from "node:path";
import Database from "better-sqlite3";
import { SMTPServer } from "smtp-server";

const db = new Database(join(process.argv[2], "store.db"));
db.pragma("journal_mode = WAL");
db.pragma("synchronous = FULL");
db.exec("CREATE TABLE mail (id INTEGER PRIMARY KEY, raw BLOB NOT NULL)");
const insert = db.prepare("INSERT INTO mail (raw) VALUES (?)");
let queue = [];
let armed = false;

function flush() {
  armed = false;
  const batch = queue;
  queue = [];
  db.transaction(() => {
    for (const { raw } of batch) insert.run(raw);
  })();
  for (const { done } of batch) done();
}

const server = new SMTPServer({
  authOptional: true,
  disabledCommands: ["AUTH", "STARTTLS"],
  disableReverseLookup: true,
  onData(stream, _session, callback) {
    const chunks = [];
    stream.on("data", (chunk) => chunks.push(chunk));
    stream.on("end", () => {
      queue.push({ raw: Buffer.concat(chunks), done: () => callback() });
      if (!armed) {
        armed = true;
        setImmediate(flush);
      }
    });
  },
});
server.listen(0, "127.0.0.1", () => console.log(`port ${server.server.address().port}`));
