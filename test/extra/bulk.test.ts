/** 1,743 real reports over SMTP, from several connections, twice. Needs the corpus beside the repository. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { ROOT } from "../support/build.ts";
import { ndjson, TestDaemon } from "../support/daemon.ts";
import { mailWith } from "../support/report-mail.js";
import { sendAll } from "../support/smtp-client.js";

const ARCHIVE = join(ROOT, "..", "shared", "corpus", "bulk", "dmarcrua-bulk.tar.gz");
const TOTALS = {
  "archive.report.dmarc": 1743,
  "archive.record": 13152,
  "archive.message": 78617,
  "archive.message.pass": 75342,
};

/** Counters when all accepted mail is parsed, however long the backlog is. */
function stats(daemon: TestDaemon): Record<string, number> {
  const ran = daemon.ctl("show", "stats", "--wait", "--json");
  expect([ran.code, ran.stderr]).toEqual([0, ""]);
  return JSON.parse(ran.stdout) as Record<string, number>;
}

describe.skipIf(!existsSync(ARCHIVE))("1,743 real reports", () => {
  it("over SMTP from eight connections give the known totals; a second time adds nothing", async () => {
    const dir = mkdtempSync(join(tmpdir(), "bulk-"));
    execFileSync("tar", ["xzf", ARCHIVE, "-C", dir]);
    const mails = readdirSync(dir).map((name) => ({
      to: "dmarc@example.org",
      data: mailWith({
        name: `${name}.gz`,
        type: "application/gzip",
        content: gzipSync(readFileSync(join(dir, name))),
        subject: "Report",
      }),
    }));
    rmSync(dir, { recursive: true });
    expect(mails).toHaveLength(1743);
    const d = await new TestDaemon().start();
    const replies: string[] = [];
    const start = performance.now();
    await sendAll(d.smtpPort, mails, 8, (_, reply) => replies.push(reply));
    console.log(
      `bulk over SMTP: ${((mails.length / (performance.now() - start)) * 1000).toFixed(0)} mails/s`,
    );
    expect(replies.filter((r) => !r.startsWith("250"))).toEqual([]);
    expect(stats(d)).toMatchObject(TOTALS);
    await sendAll(d.smtpPort, mails, 8, (_, reply) => replies.push(reply));
    expect(replies).toHaveLength(2 * 1743);
    expect(stats(d)).toMatchObject({ ...TOTALS, "archive.outcome.duplicate": 1743 });
    await d.stop();
    d.remove();
  });

  it("by import of the tar.gz, too", async () => {
    const d = await new TestDaemon().start();
    const start = performance.now();
    const ran = await d.ctlAsync("import", ARCHIVE, "--json");
    console.log(`bulk by import: ${((1743 / (performance.now() - start)) * 1000).toFixed(0)} reports/s`);
    expect(ran.code, ran.stderr).toBe(0);
    const lines = ndjson(ran.stdout);
    const end = (lines.at(-1) as { end: Record<string, number> }).end;
    expect((end.imported ?? 0) + (end["imported-with-warnings"] ?? 0)).toBe(1743);
    expect(stats(d)).toMatchObject(TOTALS);
    const again = ndjson((await d.ctlAsync("import", ARCHIVE, "--json")).stdout);
    expect((again.at(-1) as { end: Record<string, number> }).end.duplicate).toBe(1743);
    expect(stats(d)).toMatchObject(TOTALS);
    await d.stop();
    d.remove();
  });
});
