/** The whole corpus beside the repository: by `check`, over SMTP, and by import a second time. */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ROOT } from "../support/build.ts";
import { MAILREPORTCTL, ndjson, TestDaemon } from "../support/daemon.ts";
import { figures, isValid, type ManifestRow, readManifest } from "../support/manifest.ts";
import { mailWith } from "../support/report-mail.js";
import { SmtpClient } from "../support/smtp-client.js";

const CORPUS = join(ROOT, "..", "shared", "corpus");
const here = existsSync(join(CORPUS, "MANIFEST.tsv"));
const rows = here ? readManifest(join(CORPUS, "MANIFEST.tsv")) : [];
const files = [...new Set(rows.map((row) => row.file))];
type Answer = {
  file: string;
  outcome: string;
  reason: string | null;
  reports: Parameters<typeof figures>[0][];
};

function mismatches(answers: ReadonlyMap<string, Answer>, of: readonly ManifestRow[]): string[] {
  return of.flatMap((row) => {
    const answer = answers.get(row.file);
    if (!answer) return [`${row.file}: no answer`];
    if (!isValid(row)) {
      return answer.reports.length === 0 && answer.reason !== null ? [] : [`${row.file}: not refused`];
    }
    const { found, wanted } = figures(answer.reports[row.item], row);
    return found === wanted ? [] : [`${row.file}: ${found} in place of ${wanted}`];
  });
}

describe.skipIf(!here)("the whole corpus", () => {
  let daemon: TestDaemon;
  beforeAll(async () => {
    daemon = await new TestDaemon().start();
  });
  afterAll(async () => {
    await daemon.stop();
    daemon.remove();
  });

  it("by check: every row as expected, and exit code 65", () => {
    const ran = spawnSync(process.execPath, [MAILREPORTCTL, "check", "--json", ...files], {
      cwd: CORPUS,
      encoding: "utf8",
      maxBuffer: 1 << 28,
    });
    expect(ran.status).toBe(65);
    const answers = new Map((ndjson(ran.stdout) as unknown as Answer[]).map((a) => [a.file, a]));
    expect(mismatches(answers, rows)).toEqual([]);
  });

  it("over SMTP: every mail is accepted and accounted for", async () => {
    const client = await SmtpClient.open(daemon.smtpPort);
    for (const file of files) {
      const bytes = readFileSync(join(CORPUS, file));
      const mail = file.endsWith(".eml")
        ? bytes
        : mailWith({
            name: basename(file),
            type: "application/octet-stream",
            content: bytes,
            subject: "Report",
          });
      const reply = await client.send("r@reporter.example", "dmarc@example.org", mail);
      expect(reply, file).toMatch(/^250 2\.0\.0 /);
    }
    await client.quit();
    const received = ndjson(daemon.ctl("show", "received", "--wait", "--json").stdout).slice(0, -1);
    expect(received).toHaveLength(files.length);
    expect(received.filter((mail) => mail.outcome === "spooled")).toEqual([]);
    const bad = files.filter((file) => rows.filter((r) => r.file === file).every((r) => !isValid(r)));
    const refused = received.filter((mail) => ["invalid", "not-a-report"].includes(String(mail.outcome)));
    expect(refused).toHaveLength(bad.length);
    expect(refused.every((mail) => mail.reason !== null)).toBe(true);
  });

  it("importing all again adds nothing", async () => {
    const before = daemon.stats();
    const ran = await daemon.ctlAsync("import", "--json", ...files.map((file) => join(CORPUS, file)));
    const lines = ndjson(ran.stdout);
    const counts = (lines.at(-1) as { end: Record<string, number> }).end;
    expect(counts.count).toBeGreaterThanOrEqual(files.length);
    const after = daemon.stats();
    for (const name of [
      "archive.report.dmarc",
      "archive.record",
      "archive.message",
      "archive.message.pass",
    ]) {
      expect(after[name], name).toBe(before[name]);
    }
  });
});
