/** Outgoing reports on the built daemon: dry runs, cancelling and undeleting, sending, as an operator types it. */
import { spawnSync } from "node:child_process";
import { gunzipSync } from "node:zlib";
import { afterEach, beforeEach, expect, it } from "vitest";
import { ndjson, TestDaemon } from "../support/daemon.ts";

const EVALUATIONS = spawnSync(process.execPath, [
  new URL("../../contrib/tour/evaluations.js", import.meta.url).pathname,
]).stdout;
const REPORT = "d!sender.example";

let d: TestDaemon;

beforeEach(async () => {
  d = await new TestDaemon({
    zone: `_dmarc.sender.example TXT "v=DMARC1; p=reject; rua=mailto:dmarc@sender.example"
_smtp._tls.sender.example TXT "v=TLSRPTv1; rua=mailto:tls@sender.example"
`,
    config: `[report]
domain = "example.org"
[[dkim]]
selector = "e1"
key_file = "e.pem"
generate = "ed25519"
`,
  }).start(["-P", "mta"]);
  expect(d.ctlInput(EVALUATIONS, "feed", "-").code).toBe(0);
});

it("a pause of the command line had no audit: it is there, with who", () => {
  expect(d.events("control.changed")[0]).toMatchObject({ command: "pause mta", who: "command line" });
  expect(d.ctl("show", "status").stdout).toMatch(/^MTA paused/m);
});

afterEach(async ({ task }) => {
  await d.stop();
  if (task.result?.state === "pass") d.remove();
});

const reports = () =>
  ndjson(d.ctl("report", "list", "--json", "--state", "any").stdout).filter((each) => each.id);
const dmarc = () => reports().filter((each) => each.kind === "dmarc");

/** The records of the report in a message. */
function recordsIn(message: string): string {
  const body = message.slice(message.indexOf("base64", message.indexOf("application/")));
  const base64 = body.slice(body.indexOf("\r\n\r\n")).split("\r\n--")[0]!;
  const xml = gunzipSync(Buffer.from(base64, "base64")).toString("utf8");
  return xml.slice(xml.indexOf("<policy_published>"));
}

it("report cancel destroyed what was counted, and -n did so too: now it changes nothing, and undelete brings it back", () => {
  const before = reports();
  const stats = d.stats();
  for (const [words, says] of [
    [["report", "cancel", "-n"], "would be cancelled"],
    [["report", "send", "-n"], "would be sent to mailto:dmarc@sender.example"],
    [["report", "hold", "-n"], "would be held"],
  ] as const) {
    const ran = d.ctl(...words, REPORT);
    expect(ran).toMatchObject({ code: 0, stdout: expect.stringContaining(says) });
  }
  expect(reports()).toEqual(before);

  expect(d.ctl("report", "cancel", REPORT).code).toBe(0);
  expect(dmarc()).toMatchObject([{ state: "dropped", reason: "cancelled", restorable: true }]);
  expect(d.ctl("report", "explain", String(dmarc()[0]!.id)).stdout).toContain(
    "report undelete brings it back",
  );
  expect(d.ctl("report", "undelete", "-n", REPORT).stdout).toContain("would be undeleted");
  expect(dmarc()).toMatchObject([{ state: "dropped" }]);
  expect(d.ctl("report", "undelete", REPORT)).toMatchObject({
    code: 0,
    stdout: expect.stringContaining("undeleted: open"),
  });
  expect(reports()).toEqual(before);
  expect(d.stats()).toMatchObject({
    "outgoing.tally": stats["outgoing.tally"],
    "outgoing.tally.dropped": 0,
    "outgoing.message": stats["outgoing.message"],
  });
  const again = d.ctl("report", "undelete", REPORT);
  expect(again).toMatchObject({ code: 1, stderr: expect.stringContaining("was not dropped") });
});

it("report send composes in the thread, and what it sends is what preview showed", () => {
  const preview = d.ctl("report", "preview", REPORT).stdout;
  expect(preview).toContain("Subject: Report Domain: sender.example");
  const sent = d.ctl("report", "send", REPORT);
  expect(sent).toMatchObject({ code: 0, stdout: expect.stringContaining("composed: 1 message ") });
  const [message] = dmarc()[0]!.message_ids as string[];
  const raw = d.ctl("show", "message", message!).stdout;
  expect(recordsIn(raw)).toContain("<record>");
  expect(recordsIn(raw)).toBe(recordsIn(preview));
  expect(d.events("unit.failed")).toEqual([]);
});
