/** A burst of senders: their mail is stored and acknowledged first, and parsed after the burst. Nothing is lost by that. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { newFolderInMemory, TestDaemon } from "../support/daemon.ts";
import { dmarcMail } from "../support/report-mail.js";
import { sendAll } from "../support/smtp-client.js";
import { until } from "../support/wait.ts";

describe("a burst of senders", () => {
  let d: TestDaemon;
  beforeAll(async () => {
    // verifying takes longer than parsing: then there is no burst behind it
    d = await new TestDaemon({
      dir: newFolderInMemory(), // with a slow disk these are no burst
      config: "[receive]\nverify = false\n",
    }).start();
  });
  afterAll(async () => {
    await d.stop();
    d.remove();
  });

  const CONNECTIONS = 40;

  /** Sends reports over kept-open connections; the replies to their ends. */
  async function send(tag: string, count: number, connections = CONNECTIONS): Promise<string[]> {
    const replies: string[] = [];
    const mails = Array.from({ length: count }, (_, n) => ({
      to: "dmarc@example.org",
      data: dmarcMail({ id: `${tag}-${n}`, domain: `d${n % 9}.example.org`, records: 3 }),
    }));
    await sendAll(d.smtpPort, mails, connections, (_, reply) => replies.push(reply));
    return replies;
  }

  /** The same; the ingest process stands still until each connection has a mail there: a burst under any load. */
  async function burst(tag: string, count: number): Promise<string[]> {
    const before = await d.statsNow();
    const pid = before["ingest.pid"]!;
    process.kill(pid, "SIGSTOP");
    try {
      const sending = send(tag, count);
      await until("a mail of each connection to wait", async () => {
        const now = await d.statsNow();
        return now["ingest.mails"]! >= before["ingest.mails"]! + CONNECTIONS;
      });
      process.kill(pid, "SIGCONT");
      return await sending;
    } finally {
      process.kill(pid, "SIGCONT");
    }
  }

  it("is answered before its mail is parsed; all of it is parsed then, once", async () => {
    // the process learns how long parsing takes
    await send("first", 20, 1);
    expect(d.events("mail.accepted").filter(({ outcome }) => outcome === "spooled")).toEqual([]);
    const replies = await burst("a", 380);
    expect(replies.filter((reply) => /^250 2\.0\.0 Ok: kept as m\d+ /.test(reply))).toHaveLength(380);
    expect(replies.filter((reply) => reply.includes("(spooled)")).length).toBeGreaterThan(4);
    await until("all mail to be parsed", async () => (await d.statsNow())["archive.unread"] === 0);
    expect(await d.statsNow()).toMatchObject({
      "archive.mail": 400,
      "archive.report.dmarc": 400,
      "archive.record": 1200,
      "archive.unparsed": 0,
    });
    const accepted = d.events("mail.accepted");
    expect(accepted).toHaveLength(400);
    const later = accepted.filter(({ outcome }) => outcome === "spooled").map(({ id }) => id);
    await until("the fate of the last mail", () => d.events("mail.parsed").length >= later.length);
    const parsed = d.events("mail.parsed");
    expect(parsed.map(({ id }) => id).sort()).toEqual(later.sort());
    expect(new Set(parsed.map(({ outcome }) => outcome))).toEqual(new Set(["imported"]));
  });

  it("and a daemon that is killed after its last 250: all is parsed after the restart, once", async () => {
    const replies = await burst("b", 400);
    await d.stop("SIGKILL");
    expect(replies.filter((reply) => reply.startsWith("250"))).toHaveLength(400);
    await d.start();
    await until("all mail to be parsed", async () => (await d.statsNow())["archive.unread"] === 0);
    expect(await d.statsNow()).toMatchObject({
      "archive.mail": 800,
      "archive.report.dmarc": 800,
      "archive.record": 2400,
    });
  });
});
