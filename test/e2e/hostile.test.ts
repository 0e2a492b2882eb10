/** Hostile mail over SMTP to the running daemon: refused with its reason in bounded memory, while other mail is parsed. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ndjson, TestDaemon } from "../support/daemon.ts";
import { hostileInputs } from "../support/hostile.js";
import { dmarcMail, mailWith } from "../support/report-mail.js";
import { SmtpClient } from "../support/smtp-client.js";
import { until } from "../support/wait.ts";

const MIB = 1 << 20;
/** Above idle, for mails with a high compression ratio. */
const MOST_MEMORY = 150 * MIB;
/** Above idle, for mails at the size limit in sequence: their bytes pass through two processes. */
const MOST_MEMORY_LARGE = 250 * MIB;
const LARGEST_MAIL = 25 * MIB;
/** Larger mails are sent last. */
const LARGE = 6 * MIB;

/** Resident bytes of a process and its children. */
function resident(pid: number): number {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8")
    .trim()
    .split(" ")
    .filter(Boolean);
  return [pid, ...children.map(Number)].reduce((sum, each) => {
    const status = readFileSync(`/proc/${each}/status`, "utf8");
    return sum + Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1024;
  }, 0);
}

describe("hostile mail", () => {
  let d: TestDaemon;
  beforeAll(async () => {
    d = await new TestDaemon().start();
  });
  afterAll(async () => {
    await d.stop();
    d.remove();
  });

  it("is refused with its reason, in bounded memory; other mail is accepted and parsed meanwhile", {
    timeout: 600_000,
  }, async () => {
    const all = hostileInputs().map((input) => ({ ...input, made: input.make() })); // before the measurement
    const honest = await SmtpClient.open(d.smtpPort);
    await honest.send("a@b.example", "dmarc@example.org", dmarcMail({ id: "first", records: 10 }));
    const idle = resident(d.pid);
    let peak = idle;
    const watch = setInterval(() => {
      peak = Math.max(peak, resident(d.pid));
    }, 10);
    let busy = true;
    let taken = 1;
    let slowest = 0;
    const honestly = (async () => {
      while (busy) {
        const from = performance.now();
        const data = dmarcMail({ id: `honest-${taken}`, records: 10 });
        expect(await honest.send("a@b.example", "dmarc@example.org", data)).toMatch(/^250 /);
        slowest = Math.max(slowest, performance.now() - from);
        taken++;
      }
    })();

    const expected = new Map<string, readonly string[]>();
    let peakOfSmall = 0;
    const isLarge = ({ name, made }: (typeof all)[number]) => made.length > LARGE && !/64 MiB/.test(name);
    for (const input of [...all.filter((i) => !isLarge(i)), null, ...all.filter(isLarge)]) {
      if (!input) {
        peakOfSmall = peak;
        continue;
      }
      const { name, form, fileName, reasons, made } = input;
      const data =
        form === "mail"
          ? Buffer.concat([Buffer.from("From: a@b.example\r\n"), made])
          : mailWith({ name: fileName, type: "application/octet-stream", content: made, subject: name });
      const client = await SmtpClient.open(d.smtpPort);
      const sender = `case-${expected.size}@hostile.example`;
      const reply = await client
        .send(sender, "dmarc@example.org", data)
        .catch((error: Error) => error.message);
      if (data.length > LARGEST_MAIL)
        expect(reply, name).toMatch(/^552 5\.3\.4|connection was closed|EPIPE|ECONNRESET/);
      else {
        expect(reply, name).toMatch(/^250 2\.0\.0 Ok: kept as m\d+ \((?:invalid|not-a-report|spooled)/);
        expected.set(sender, reasons);
      }
      client.destroy();
    }
    const listed = () =>
      ndjson(d.ctl("show", "received", "--json").stdout).filter((mail) =>
        String(mail.envelope_from).endsWith("@hostile.example"),
      );
    await until("all of it to be parsed", () => listed().every((mail) => mail.outcome !== "spooled"));
    busy = false;
    await honestly;
    clearInterval(watch);

    const mails = listed();
    expect(mails).toHaveLength(expected.size);
    for (const mail of mails) {
      const reasons = expected.get(String(mail.envelope_from));
      expect(reasons, `${mail.envelope_from} ${mail.subject}`).toContain(mail.reason);
      expect(mail.raw_kept).toBe(true);
    }
    const stats = d.stats();
    expect(stats["archive.report.dmarc"]).toBe(taken);
    expect(stats["ingest.restarts"]).toBe(0);
    expect(d.events("ingest.quarantined")).toEqual([]);
    console.log(
      `${expected.size} hostile mails: peak ${((peakOfSmall - idle) / MIB).toFixed(0)} MB, with the largest mails ${((peak - idle) / MIB).toFixed(0)} MB above ${(idle / MIB).toFixed(0)} MB; ` +
        `${taken} other ones meanwhile, the slowest took ${slowest.toFixed(0)} ms; main loop blocked for up to ${stats["daemon.loop.max_ms"]} ms`,
    );
    expect(peakOfSmall - idle).toBeLessThan(MOST_MEMORY);
    expect(peak - idle).toBeLessThan(MOST_MEMORY_LARGE);
    await honest.quit();
  });
});
