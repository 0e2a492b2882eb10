/** Envelopes and suppressions as an operator changes them, on the built daemon. */
import { spawnSync } from "node:child_process";
import { request } from "node:http";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ndjson, TestDaemon } from "../support/daemon.ts";
import { openSink, type SmtpSink } from "../support/smtp-sink.ts";
import { until } from "../support/wait.ts";

const EVALUATIONS = spawnSync(process.execPath, [
  new URL("../../contrib/tour/evaluations.js", import.meta.url).pathname,
]).stdout;
const RCPT = "dmarc@sender.example";

describe("the queue", () => {
  let d: TestDaemon;
  let sink: SmtpSink;
  let id: string;

  /** A daemon with one envelope to `RCPT` that waits, because delivery is paused. */
  beforeEach(async () => {
    sink = await openSink();
    d = await new TestDaemon({
      zone: `_dmarc.sender.example TXT "v=DMARC1; p=reject; rua=mailto:${RCPT}"\n`,
      config: `[report]
domain = "example.org"
[[dkim]]
selector = "e1"
key_file = "e.pem"
generate = "ed25519"
[deliver]
relay = "127.0.0.1:${sink.port}"
`,
    }).start();
    expect(d.ctlInput(EVALUATIONS, "feed", "-").code).toBe(0);
    await ok("pause", "mta");
    await ok("report", "send", "d:sender.example");
    id = String(ndjson(await ok("show", "queue", "--json"))[0]!.id);
  });

  afterEach(async ({ task }) => {
    await d.stop();
    await sink.close();
    if (task.result?.state !== "fail") d.remove();
  });

  const run = (...args: string[]) => d.ctlAsync(...args);
  const ok = async (...args: string[]) => {
    const ran = await run(...args);
    expect(ran.code, `${args.join(" ")}: ${ran.stderr}`).toBe(0);
    return ran.stdout;
  };
  const envelope = async () =>
    JSON.parse(await ok("show", "envelope", id, "--json")) as Record<string, unknown>;
  const becomes = (state: string) =>
    until(`the envelope to be ${state}`, async () => (await envelope()).state === state);

  it("what was removed could not be brought back: undelete does", async () => {
    await ok("remove", id);
    expect(ndjson(await ok("show", "queue", "--json")).slice(0, -1)).toEqual([]);
    expect(await ok("undelete", "-n", id)).toBe("1 envelope would be undeleted\n");
    expect((await envelope()).state).toBe("removed");
    expect((await run("undelete", "all")).code).toBe(64); // not without --yes where nobody can be asked
    expect(await ok("undelete", "--yes", "-r", `@${RCPT.split("@")[1]}`)).toBe("1 envelope undeleted\n");
    await ok("resume", "mta");
    await becomes("delivered");
    const again = await run("undelete", id);
    expect([again.code, again.stdout]).toEqual([1, "0 envelopes undeleted\n"]);
    expect(again.stderr).toContain(`${id} is delivered`);
  });

  it("what failed could not be sent again: requeue does, and lifts the suppression that the failure made", async () => {
    sink.refuse.set(RCPT, { code: 550, text: "5.1.1 no such user" });
    await ok("resume", "mta");
    await becomes("failed");
    expect(await ok("suppress", "list")).toMatch(/^dmarc@sender\.example\|\d+\|automatic\|.*no such user/);
    expect(await ok("suppress", "lookup", RCPT)).toMatch(
      /is suppressed until \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ/,
    );
    sink.refuse.clear();
    expect(await ok("requeue", "-n", "all")).toBe("1 envelope would be requeued\n");
    expect((await envelope()).state).toBe("failed");
    expect(await ok("requeue", id.slice(0, 8))).toBe("1 envelope requeued\n");
    await becomes("delivered");
    expect(await envelope()).toMatchObject({
      attempts: 1,
      history: [{ result: "permanent" }, { result: "delivered" }],
    });
    // the stored objects were shown as JSON on one line, with other names and with epoch seconds
    const shown = await ok("show", "envelope", id);
    expect(shown).toMatch(/\nhistory:\n {2}\d{4}-\d\d-\d\dT\S+Z {2}\S+ {2}permanent {2}.*no such user\n/);
    const message = await ok("show", "envelope", id.slice(0, 8));
    expect(message).toMatch(
      /^id: [0-9a-f]{8}\nreport_id: d!sender\.example!\S+\n(?:.+\n)*created_at: \d{4}-\S+Z\n/,
    );
    expect(message).toMatch(/\nenvelopes:\n {2}- id: [0-9a-f]{16}\n {4}message_id: /);
    expect(message).not.toMatch(/\{|[a-z][A-Z][a-z]+:/);
    expect(await ok("show", "suppressions")).toBe("");
    expect((await run("requeue", "d!sender.example!0123456789abcdef!1")).code).toBe(64);
  });

  it("an operator suppresses and lifts; what waits is not sent, and says so", async () => {
    const added = await ok("suppress", "add", "@sender.example", "--for", "7d", "mailbox", "is", "full");
    expect(added).toMatch(
      /^@sender\.example suppressed until 2\d{3}-.*\n1 waiting envelope will not be sent\n$/,
    );
    expect((await envelope()).suppressed).toMatch(/@sender\.example is suppressed \(operator\) .*full/);
    await ok("resume", "mta");
    await becomes("failed");
    expect(sink.got).toEqual([]);
    const skipped = await run("requeue", id);
    expect(skipped.code).toBe(1);
    expect(skipped.stderr).toContain("suppressed by an operator");
    expect(await ok("suppress", "remove", "-n", "@sender.example")).toContain("would no longer be");
    expect((await run("suppress", "lookup", RCPT)).code).toBe(0);
    expect(await ok("suppress", "remove", "@sender.example")).toBe(
      "@sender.example is no longer suppressed\n",
    );
    expect((await run("suppress", "lookup", RCPT)).code).toBe(1);
    const none = await run("suppress", "remove", "@sender.example");
    expect([none.code, none.stderr]).toEqual([1, "mailreportctl: not suppressed: @sender.example\n"]);
    await ok("requeue", id);
    await becomes("delivered");
  });

  it("wrong targets and times are refused with their text", async () => {
    expect(await run("suppress", "add", "foo")).toMatchObject({
      code: 64,
      stderr: expect.stringContaining("foo: a domain has a dot"),
    });
    const bad = await run("suppress", "add", "no body@x");
    expect(bad.code).toBe(64);
    expect(bad.stderr).toContain("not an address, @domain, domain or https URI: no body@x");
    for (const args of [
      ["--until", "-1d"],
      ["--for", "soon"],
      ["--for", "1d", "--until", "+1d"],
    ])
      expect((await run("suppress", "add", RCPT, ...args)).code, args.join(" ")).toBe(64);
    expect(await ok("suppress", "add", "-n", RCPT)).toContain("would be suppressed");
    expect(await ok("suppress", "list", "--all")).toBe("");
  });

  it("a dry run of pause or resume acted: it says what would change, and changes nothing", async () => {
    const post = (action: string, body: object) =>
      new Promise<unknown>((resolve, reject) => {
        const text = JSON.stringify(body);
        const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(text) };
        const path = `/v1/actions/${action}`;
        const req = request({ socketPath: d.socket, method: "POST", path, headers }, (response) => {
          let answer = "";
          response.on("data", (chunk: Buffer) => {
            answer += chunk.toString();
          });
          response.on("end", () => resolve(JSON.parse(answer)));
        });
        req.on("error", reject);
        req.end(text);
      });
    const before = await ok("show", "status");
    const dryRun = { dry_run: true };
    expect(await post("resume", { subsystem: "mta", ...dryRun })).toEqual({ changed: true, dry_run: true });
    expect(await post("pause", { subsystem: "mta", ...dryRun })).toEqual({ changed: false, dry_run: true });
    const destination = "one.example";
    expect(await post("pause", { subsystem: "mta", destination, ...dryRun })).toEqual({
      changed: true,
      dry_run: true,
    });
    expect(await ok("show", "status")).toBe(before);
    expect(await ok("show", "mta", "paused")).toBe("");
    expect((await envelope()).state).toBe("pending");
  });

  it("a schedule moved the end of an envelope, or into the past: both are refused and change nothing", async () => {
    const before = await envelope();
    const late = await run("schedule", "-t", "+99d", id);
    expect([late.code, late.stdout]).toEqual([1, "0 envelopes scheduled\n"]);
    expect(late.stderr).toContain(`${id} is expired by that time; a schedule does not extend its life`);
    const past = await run("schedule", "-t", "-7d", id);
    expect([past.code, past.stderr]).toEqual([64, expect.stringContaining("the time is in the past")]);
    expect(await envelope()).toEqual(before);
    expect(await ok("schedule", "-t", "+1h", id)).toBe("1 envelope scheduled\n");
    const after = await envelope();
    expect(after.expires_at).toBe(before.expires_at);
    expect(after.next_at).not.toBe(before.next_at);
    expect(await ok("schedule", "-t", "now", id)).toBe("1 envelope scheduled\n");
  });

  it("a dry run of schedule, hold, release and remove acted: it changes nothing", async () => {
    await ok("hold", id);
    const before = await envelope();
    for (const action of ["schedule", "release", "remove"])
      expect(await ok(action, "-n", id)).toMatch(/^1 envelope would be /);
    expect((await run("hold", "-n", id)).code).toBe(1);
    expect(await envelope()).toEqual(before);
  });
});
