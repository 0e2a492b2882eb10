/**
 * Makes the databases of a version, as later versions find them: `node make.js DIST FOLDER`, where DIST is the built
 * program of that version. The daemon runs for it: reports of every kind are imported and mailed, evaluations are fed,
 * reports are composed, delivered, refused, deferred, held and dropped, and some mail is left unparsed.
 */
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { SMTPServer } from "smtp-server";
import { archiveContents, queueContents } from "./contents.js";
import { dmarcMail } from "../../support/report-mail.js";
import { sendAll } from "../../support/smtp-client.js";

const HERE = dirname(fileURLToPath(import.meta.url));
const CORPUS = join(HERE, "..", "..", "corpus", "data");
const [dist, folder] = process.argv.slice(2).map((path) => resolve(path));
const Database = createRequire(import.meta.url)("better-sqlite3");
const state = mkdtempSync(join(tmpdir(), "databases-"));

/** Replies to a recipient by the begin of its address. */
const REPLIES = { refused: "550 5.1.1 no such user", busy: "451 4.2.1 try again later" };
const sink = new SMTPServer({
  authOptional: true,
  disabledCommands: ["AUTH", "STARTTLS"],
  disableReverseLookup: true,
  onRcptTo({ address }, _session, callback) {
    const reply = REPLIES[address.slice(0, address.indexOf("@"))];
    if (!reply) return callback();
    callback(Object.assign(new Error(reply.slice(4)), { responseCode: Number(reply.slice(0, 3)) }));
  },
  onData(stream, _session, callback) {
    stream.resume().on("end", () => callback());
  },
});
await new Promise((done) => sink.listen(0, "127.0.0.1", done));

const NAMES = ["good", "refused", "busy", "paused", "open", "held", "dropped", "again"];
const zone = NAMES.flatMap((name) => [
  `_dmarc.${name}.example TXT "v=DMARC1; p=reject; rua=mailto:${name}@${name}.example"`,
  `_smtp._tls.${name}.example TXT "v=TLSRPTv1; rua=mailto:${name}@${name}.example"`,
  `${name}.example MX 10 mx.${name}.example`,
  `mx.${name}.example A 127.0.0.1`,
]);
writeFileSync(join(state, "zone"), `${zone.join("\n")}\n`);
const config = join(state, "mailreportd.conf");
writeFileSync(
  config,
  `hostname = "mx.reporter.example"
state_directory = "var"
allow_root = true
[smtp]
listen = ["127.0.0.1:0"]
[[recipient]]
address = "dmarc@example.org"
[receive]
verify = false
[report]
domain = "reporter.example"
[[dkim]]
selector = "s1"
key_file = "s1.pem"
generate = "ed25519"
[deliver]
relay = "127.0.0.1:${sink.server.address().port}"
relay_tls = "none"
[dns]
zone_file = "zone"
zone_only = true
`,
);

let log = "";
const daemon = spawn(process.execPath, [join(dist, "bin", "mailreportd.js"), "-F", "-f", config], {
  cwd: state,
  stdio: ["ignore", "pipe", "inherit"],
});
daemon.stdout.on("data", (chunk) => {
  log += chunk;
});
process.once("exit", () => daemon.kill("SIGKILL"));
async function until(check) {
  for (let n = 0; n < 600; n++) {
    const found = await check();
    if (found) return found;
    await new Promise((done) => setTimeout(done, 50));
  }
  throw new Error(`waited in vain for ${check}\n${log}`);
}
function ctl(input, ...args) {
  const all = [join(dist, "bin", "mailreportctl.js"), "-S", join(state, "var", "control.sock"), ...args];
  try {
    return execFileSync(process.execPath, all, { input, encoding: "utf8" });
  } catch (error) {
    if (args[0] === "import" && error.status === 65) return error.stdout;
    throw error;
  }
}
const stats = () => JSON.parse(ctl("", "show", "stats", "--json"));

const port = Number(await until(() => /"event":"smtp.listening".*?"port":(\d+)/.exec(log)?.[1]));
await until(() => log.includes("daemon.ready"));

// what others report to us; the records of the first ones have expired
for (const kind of ["dmarc", "tls", "failure", "arf", "dsn", "hostile"]) {
  const files = readdirSync(join(CORPUS, kind))
    .map((name) => join(CORPUS, kind, name))
    .filter((file) => statSync(file).size < 5000);
  const some = files.filter((_, i) => i % Math.ceil(files.length / 6) === 0);
  ctl("", "import", ...some.slice(0, 2));
  ctl("", "db", "prune");
  ctl("", "import", ...some.slice(2));
}
const mail = (id, more = {}) => ({ to: "dmarc@example.org", data: dmarcMail({ id, ...more }) });
await sendAll(port, [mail("a", { records: 300 }), mail("b"), mail("b"), mail("b", { records: 2 })], 1);
ctl("", "pause", "mda");
await sendAll(port, [mail("unparsed-1"), mail("unparsed-2"), mail("unparsed-3")], 1);

// what we report to others
const time = Math.floor(Date.now() / 1000) - 5;
const evaluation = (name, n) => ({
  v: 1,
  kind: "dmarc",
  id: `${name}-${n}`,
  time,
  source_ip: `192.0.2.${n}`,
  header_from: `${name}.example`,
  envelope_from: `${name}.example`,
  policy: { domain: `${name}.example`, p: "reject", rua: [`mailto:${name}@${name}.example`] },
  disposition: n % 2 === 0 ? "none" : "reject",
  dkim_aligned: n % 2 === 0,
  spf_aligned: false,
  dkim: [{ domain: `${name}.example`, selector: "s1", result: n % 2 === 0 ? "pass" : "fail" }],
});
const sessions = (name) => ({
  v: 1,
  kind: "tls",
  id: `tls-${name}`,
  time,
  domain: `${name}.example`,
  record: `v=TLSRPTv1; rua=mailto:${name}@${name}.example`,
  policies: [
    {
      type: "sts",
      domain: `${name}.example`,
      success: 5,
      failure: 1,
      details: [{ result: "certificate-expired", sending_ip: "203.0.113.5", count: 1 }],
    },
  ],
});
const lines = NAMES.flatMap((name) => [1, 2, 3].map((n) => evaluation(name, n)));
lines.push(sessions("good"), sessions("open"));
ctl(lines.map((line) => `${JSON.stringify(line)}\n`).join(""), "feed", "-");
const listed = ctl("", "report", "list", "--json").split("\n").filter(Boolean);
const ids = listed.map((line) => JSON.parse(line)).flatMap(({ id }) => id ?? []);
const idOf = (kind, name) => ids.find((id) => id.startsWith(`${kind}!${name}.example!`));
ctl("", "pause", "mta", "for", "paused.example");
for (const name of ["good", "refused", "busy", "paused", "again"]) ctl("", "report", "send", idOf("d", name));
ctl("", "report", "send", idOf("t", "good"));
ctl("", "report", "hold", idOf("d", "held"));
ctl("y\n", "report", "cancel", idOf("d", "dropped"), "--yes");
await until(() => {
  const now = stats();
  return now["queue.delivered"] === 3 && now["queue.failed"] === 1 && now["queue.envelope.pending"] === 2;
});
ctl(`${JSON.stringify(evaluation("again", 9))}\n`, "feed", "-"); // counted in the next period
daemon.kill("SIGTERM");
await new Promise((done) => daemon.once("exit", done));
sink.close();

mkdirSync(folder, { recursive: true });
for (const name of ["archive.db", "queue.db"]) {
  const database = new Database(join(state, "var", name));
  database.pragma("wal_checkpoint(TRUNCATE)");
  rmSync(join(folder, name), { force: true });
  database.exec(`VACUUM INTO '${join(folder, name)}'`);
  database.close();
}
rmSync(state, { recursive: true });

const store = (...names) => import(names.map((name) => join(dist, "store", "sqlite", name)).find(existsSync));
const { openArchiveReader } = await store("archive-reader.js", "archive/reader.js");
const { openQueueStore } = await store("queue-store.js", "queue/store.js");
const archive = openArchiveReader(join(folder, "archive.db"));
const queue = openQueueStore(join(folder, "queue.db"));
const contents = { archive: await archiveContents(archive), queue: queueContents(queue) };
await archive.close();
queue.close();
writeFileSync(join(folder, "contents.json"), JSON.stringify(contents));
