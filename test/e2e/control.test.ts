/** mailreportctl on the built daemon: every command of the main job, as an operator types it. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { SMTPServer } from "smtp-server";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ndjson, TestDaemon } from "../support/daemon.ts";
import { mailWith } from "../support/report-mail.js";
import { SmtpClient } from "../support/smtp-client.js";
import { until } from "../support/wait.ts";

const EVALUATIONS = spawnSync(process.execPath, [
  new URL("../../contrib/tour/evaluations.js", import.meta.url).pathname,
]).stdout;
const TOUR = new URL("../../contrib/tour/reports", import.meta.url).pathname;

describe("mailreportctl", () => {
  let d: TestDaemon;
  let sink: SMTPServer;
  let got: Buffer[];
  let answer: { code: number; text: string } | null;

  beforeEach(async () => {
    got = [];
    answer = null;
    sink = new SMTPServer({
      authOptional: true,
      disabledCommands: ["AUTH", "STARTTLS"],
      disableReverseLookup: true,
      onData(stream, _session, callback) {
        const chunks: Buffer[] = [];
        stream.on("data", (chunk: Buffer) => chunks.push(chunk));
        stream.on("end", () => {
          if (answer) return callback(Object.assign(new Error(answer.text), { responseCode: answer.code }));
          got.push(Buffer.concat(chunks));
          return callback(null, "queued as 4711");
        });
      },
    });
    await new Promise<void>((resolve) => sink.listen(0, "127.0.0.1", resolve));
    const { port } = sink.server.address() as { port: number };
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
[deliver]
relay = "127.0.0.1:${port}"
[[feed]]
name = "mta"
socket = "feed.sock"
`,
    }).start();
  });
  afterEach(async ({ task }) => {
    await d.stop();
    if (task.result?.state === "pass") d.remove();
    await new Promise<void>((resolve) => sink.close(() => resolve()));
  });

  const run = (...args: string[]) => d.ctlAsync(...args);
  const ok = async (...args: string[]) => {
    const ran = await run(...args);
    expect(ran.code, `${args.join(" ")}: ${ran.stderr}`).toBe(0);
    return ran.stdout;
  };

  /** Feeds, composes a report and returns its envelope. */
  const queue = async (report: string): Promise<string> => {
    expect(d.ctlInput(EVALUATIONS, "feed", "-").code).toBe(0);
    const sent = JSON.parse(await ok("report", "send", report, "--json")) as { message_ids: string[] };
    const message = JSON.parse(await ok("show", "envelope", sent.message_ids[0]!, "--json")) as {
      envelopes: { id: string }[];
    };
    return message.envelopes[0]!.id;
  };

  it("imports, and answers what came", async () => {
    const lines = ndjson(await ok("import", "--json", TOUR));
    expect(lines.at(-1)).toEqual({ end: { count: 3, imported: 3 } });
    expect(lines[1]).toMatchObject({ outcome: "imported", reason: null });
    expect((lines[0]!.reports as object[])[0]).toMatchObject({
      kind: "tls",
      messages: 500,
      pass_messages: 498,
    });
    expect(ndjson(await ok("import", "--json", TOUR)).at(-1)).toEqual({ end: { count: 3, duplicate: 3 } });
    const domains = ndjson(await ok("show", "domains", "--json"));
    expect(domains[0]).toMatchObject({
      domain: "example.org",
      messages: 1781,
      pass: 1749,
      fail: 32,
      tls_failures: 2,
    });
    const sources = ndjson(await ok("show", "sources", "example.org", "--json"));
    expect(sources[0]).toMatchObject({ source: "192.0.2.25", messages: 1617, pass: 1617 });
    expect(ndjson(await ok("show", "received", "--json")).slice(0, -1)).toHaveLength(6);
    expect(ndjson(await ok("show", "sources", "example.org", "--result", "fail", "--json"))[0]).toMatchObject(
      {
        source: "198.51.100.77",
        messages: 32,
      },
    );
    expect(JSON.parse(await ok("show", "report", "r2", "--json"))).toMatchObject({
      org_name: "Mail Provider One",
    });
    expect(await ok("show", "records", "example.org", "--csv")).toMatch(/^report,source,count,/);
  });

  it("counts evaluations once by id, and rejects wrong lines by number", async () => {
    expect(d.ctlInput(EVALUATIONS, "feed", "-").stdout).toBe("16 accepted, 0 rejected\n");
    expect(d.ctlInput(EVALUATIONS, "feed", "-").stdout).toBe(
      "16 accepted (16 of them repeated), 0 rejected\n",
    );
    const wrong = d.ctlInput('{"v":1}\nnonsense\n', "feed", "-");
    expect(wrong.code).toBe(65);
    expect(wrong.stderr).toMatch(/line 1: .*\n.*line 2: not JSON/);
    const open = ndjson(await ok("report", "list", "--json")).slice(0, -1);
    expect(open.map((r) => [r.kind, r.messages, r.state])).toEqual([
      ["dmarc", 15, "open"],
      ["tls", 42, "open"],
    ]);
    expect(ndjson(await ok("report", "list", "-f", "tls", "--json"))).toHaveLength(2);
    expect(await ok("report", "status", "d:sender.example")).toContain("messages: 15");
    expect(await ok("report", "explain", "d:sender.example")).toContain(
      "verdict: will be sent to mailto:dmarc@sender.example",
    );
    expect(await ok("report", "preview", "d:sender.example")).toMatch(
      /^DKIM-Signature: [\s\S]*^To: <dmarc@sender\.example>/m,
    );
  });

  it("pauses delivery, and a message goes out with the same bytes after kill -9", async () => {
    expect(await ok("pause", "mta")).toBe("mta paused\n");
    expect(await ok("pause", "mta")).toBe("mta was already paused\n");
    expect(await ok("sh", "statu")).toContain("MTA paused");
    const envelope = await queue("d:sender.example");
    const [queued] = ndjson(await ok("show", "queue", "--json"));
    expect(queued).toMatchObject({
      state: "pending",
      kind: "dmarc",
      rcpt: "dmarc@sender.example",
      attempts: 0,
    });
    const plain = (await ok("show", "queue")).trimEnd().split("|");
    expect(plain.slice(0, 4)).toEqual([envelope, "local", "mta", ""]);
    expect(plain).toHaveLength(17);
    const before = await ok("show", "message", envelope.slice(0, 8));
    await d.stop("SIGKILL");
    await d.start();
    expect(await ok("show", "status")).toContain("MTA paused"); // it survives a restart
    expect(await ok("show", "message", envelope)).toBe(before);
    answer = { code: 451, text: "Greylisted" };
    await ok("resume", "mta");
    await until("a deferral", async () => (await ok("show", "envelope", envelope)).includes("Greylisted"));
    const deferred = JSON.parse(await ok("show", "envelope", envelope, "--json")) as Record<string, unknown>;
    expect(deferred).toMatchObject({ state: "pending", attempts: 1, last: { code: 451 } });
    answer = null;
    expect(await ok("schedule", envelope)).toBe("1 envelope scheduled\n");
    await until("the delivery", () => got.length === 1);
    expect(got[0]!.toString("latin1")).toBe(before);
    await until(
      "the settling",
      async () =>
        (JSON.parse(await ok("show", "stats", "--json")) as Record<string, number>)["queue.delivered"] === 1,
    );
    expect(await ok("queue", "status", envelope)).toContain("state: delivered");
  });

  it("ties a bounce to the envelope that caused it, and sends nothing more there", async () => {
    const envelope = await queue("d:sender.example");
    await until("the delivery", async () =>
      (await ok("show", "envelope", envelope)).includes("state: delivered"),
    );
    const sent = JSON.parse(await ok("show", "envelope", envelope, "--json")) as Record<string, string>;
    expect(sent.sender).toMatch(/^noreply-reports\+[0-9a-f]{8}\.[0-9a-f]{8}@example\.org$/);
    const bounce = (to: string) =>
      Buffer.from(
        `From: MAILER-DAEMON@mx.sender.example\r\nTo: <${to}>\r\nSubject: Undelivered\r\nDate: Fri, 20 Nov 2026 02:00:00 +0000\r\n` +
          'MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n' +
          "--b\r\nContent-Type: text/plain\r\n\r\nGone.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n" +
          "Reporting-MTA: dns; mx.sender.example\r\n\r\nFinal-Recipient: rfc822; dmarc@sender.example\r\n" +
          "Action: failed\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1 no such user\r\n\r\n--b--\r\n",
      );
    const client = await SmtpClient.open(d.smtpPort);
    const forged = sent.sender!.replace(/\+([0-9a-f]{8})\./, "+00000001.");
    expect(await client.send("", forged, bounce(forged))).toMatch(/^550 5\.1\.1/); // not a path of ours
    await client.command("RSET");
    expect(await client.send("", sent.sender!, bounce(sent.sender!))).toMatch(/^250 /);
    await client.quit();
    await until("the bounce to be tied", async () =>
      (await ok("show", "envelope", envelope)).includes("bounced"),
    );
    expect(JSON.parse(await ok("show", "envelope", envelope, "--json"))).toMatchObject({
      state: "failed",
      last: {
        enhanced: "5.1.1",
        mx: "mx.sender.example",
        text: expect.stringContaining("550 5.1.1 no such user"),
      },
    });
    expect(await ok("show", "suppressions")).toMatch(/^dmarc@sender\.example\|/);
    expect(ndjson(await ok("show", "dsn", "--json"))[0]).toMatchObject({
      kind: "dsn",
      org_name: "mx.sender.example",
    });
  });

  it("holds, releases and removes, and says when nothing matched", async () => {
    await ok("pause", "mta");
    const id = await queue("t:sender.example");
    expect(await ok("pause", "envelope", id)).toBe("1 envelope paused\n");
    expect(ndjson(await ok("show", "queue", "--json"))[0]).toMatchObject({ state: "held" });
    expect(await ok("resume", "envelope", id)).toBe("1 envelope resumed\n");
    expect((await run("remove", "all")).code).toBe(64); // not without --yes where nobody can be asked
    expect((await run("remove", "al")).code).toBe(64);
    expect((await run("remove", "--domian", "x")).code).toBe(64);
    expect(await ok("queue", "cancel", "-d", "sender.example", "--yes")).toBe("1 envelope removed\n");
    const none = await run("remove", "12345678");
    expect([none.code, none.stdout]).toEqual([1, "0 envelopes removed\n"]);
    expect(none.stderr).toContain("no such message: 12345678");
    expect((await run("show", "envelope", "0123456789abcdef")).code).toBe(1);
    expect((await run("report", "send", "d:nobody.example")).code).toBe(1);
    expect((await run("report", "cancel", "t:sender.example")).code).toBe(1); // composed already
  });

  it("refuses new sessions while smtp is paused, and logs as told", async () => {
    await ok("pause", "smtp");
    const { connect } = await import("node:net");
    const greeting = await new Promise<string>((resolve) =>
      connect(d.smtpPort, "127.0.0.1").once("data", (chunk) => resolve(chunk.toString())),
    );
    expect(greeting).toMatch(/^421 4\.3\.2 /);
    await ok("resume", "smtp");
    expect(await ok("log", "verbose")).toBe("log verbose\n");
    expect(await ok("log", "brief")).toBe("log brief\n");
  });

  it("an unknown feed name began a feed of its own: it is refused, and the known ones are named", () => {
    const unknown = d.ctlInput(EVALUATIONS, "feed", "--name", "mat", "-");
    expect([unknown.code, unknown.stderr]).toEqual([
      64,
      "mailreportctl: no such feed: mat (known feeds: control, mta)\n",
    ]);
    expect(d.ctlInput(EVALUATIONS, "feed", "--name", "mta", "-").stdout).toMatch(/^16 accepted, 0 rejected/);
  });

  it("mail that is not parsed yet was missing silently: status, lists and counters tell it", async () => {
    await ok("pause", "mda");
    const client = await SmtpClient.open(d.smtpPort);
    const mail = mailWith({
      name: "r.xml",
      type: "text/xml",
      subject: "Report",
      content: readFileSync(`${TOUR}/provider-two.xml`),
    });
    expect(await client.send("r@reporter.example", "dmarc@example.org", mail)).toMatch(/^250 /);
    await client.quit();
    const note =
      "note: 1 accepted mail is not parsed yet; figures are incomplete; parsing is paused (resume mda)\n";
    for (const args of [
      ["show", "days", "--json"],
      ["show", "stats", "archive.mail"],
      ["export", "records"],
    ])
      expect(await run(...args), args.join(" ")).toMatchObject({ code: 0, stderr: note });
    expect(ndjson(await ok("show", "days", "--json")).at(-1)).toMatchObject({
      end: { count: 0, unparsed: 1, parsing: "paused" },
    });
    expect(JSON.parse(await ok("show", "status", "--json"))).toMatchObject({ unparsed: 1 });
    expect(await ok("show", "status")).toMatch(/^unparsed 1$/m);
    // --wait does not wait for a parser that is paused, and does not say that all is parsed
    expect(await run("show", "days", "--wait")).toMatchObject({ code: 75, stderr: note });
    expect(await run("show", "stats", "--wait")).toMatchObject({ code: 75, stderr: note });
    await ok("resume", "mda");
    const waited = await run("show", "domains", "--wait", "--json");
    expect([waited.code, waited.stderr]).toEqual([0, ""]);
    expect(ndjson(waited.stdout)[0]).toMatchObject({ domain: "example.org" });
    expect(await ok("show", "status")).not.toContain("unparsed");
  });

  it("abbreviates as smtpctl does, and helps", async () => {
    expect((await run("sh", "q")).code).toBe(0);
    expect((await run("sh", "st")).stderr).toMatch(/possibilities are:\nshow stats\nshow status\n/);
    expect((await run("bogus")).code).toBe(64);
    expect((await run("show", "status", "extra")).code).toBe(64);
    expect(await ok("help")).toContain("show queue");
    expect(await ok("show", "queue", "--help")).toContain("--domain");
  });

  it("lets no control character of outside text through", async () => {
    const xml = `<feedback><report_metadata><org_name>a&#27;[31m&#x202e;b</org_name><email>x@y.example</email><report_id>esc</report_id><date_range><begin>1795046400</begin><end>1795132799</end></date_range></report_metadata><policy_published><domain>example.org</domain><p>none</p></policy_published></feedback>`;
    expect(d.ctlInput(xml, "import", "-").code).toBe(0);
    for (const args of [
      ["show", "received", "--reports"],
      ["show", "reporters"],
      ["show", "report", "r1"],
    ]) {
      expect(await ok(...args), args.join(" ")).not.toMatch(
        /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/,
      );
    }
  });
});
