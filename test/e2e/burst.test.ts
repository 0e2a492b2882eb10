/** Many senders at once: their mail is stored and acknowledged first, and read when they are gone. Nothing is lost by that. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { newFolderInMemory, TestDaemon } from "../support/daemon.ts";
import { dmarcMail } from "../support/report-mail.js";
import { sendAll } from "../support/smtp-client.js";
import { until } from "../support/wait.ts";

describe("a crowd of senders", () => {
  let d: TestDaemon;
  beforeAll(async () => {
    // verifying takes longer than reading: then there is no crowd behind it
    d = await new TestDaemon({
      dir: newFolderInMemory(), // on a slow disk these are no crowd
      config: "[receive]\nverify = false\n",
    }).start();
  });
  afterAll(async () => {
    await d.stop();
    d.remove();
  });

  /** Sends so many reports over 40 connections; the replies to their ends. */
  async function burst(tag: string, count: number): Promise<string[]> {
    const replies: string[] = [];
    const mails = Array.from({ length: count }, (_, n) => ({
      to: "dmarc@example.org",
      data: dmarcMail({ id: `${tag}-${n}`, domain: `d${n % 9}.example.org`, records: 3 }),
    }));
    await sendAll(d.smtpPort, mails, 40, (_, reply) => replies.push(reply));
    return replies;
  }

  it("is answered before its mail is read; a question right behind it knows all of it", async () => {
    const replies = await burst("a", 400);
    expect(replies.filter((reply) => /^250 2\.0\.0 Ok: kept as m\d+ /.test(reply))).toHaveLength(400);
    expect(replies.filter((reply) => reply.includes("(spooled)")).length).toBeGreaterThan(100);
    expect(await d.statsNow()).toMatchObject({
      "archive.mail": 400,
      "archive.report.dmarc": 400,
      "archive.record": 1200,
      "archive.unread": 0,
    });
    const accepted = d.events("mail.accepted");
    expect(accepted).toHaveLength(400);
    const later = accepted.filter(({ outcome }) => outcome === "spooled").map(({ id }) => id);
    await until("the fate of the last mail", () => d.events("mail.parsed").length >= later.length);
    const read = d.events("mail.parsed");
    expect(read.map(({ id }) => id).sort()).toEqual(later.sort());
    expect(new Set(read.map(({ outcome }) => outcome))).toEqual(new Set(["imported"]));
  });

  it("and a daemon that is killed behind its last 250: all is read after the restart, once", async () => {
    const replies = await burst("b", 400);
    await d.stop("SIGKILL");
    expect(replies.filter((reply) => reply.startsWith("250"))).toHaveLength(400);
    await d.start();
    await until("all mail to be read", async () => (await d.statsNow())["archive.unread"] === 0);
    expect(await d.statsNow()).toMatchObject({
      "archive.mail": 800,
      "archive.report.dmarc": 800,
      "archive.record": 2400,
    });
  });
});
