/** A burst of mail is stored and acknowledged first, and parsed afterwards; no mail is lost by that. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { newFolderInMemory, TestDaemon } from "../support/daemon.ts";
import { dmarcMail } from "../support/report-mail.js";
import { sendAll } from "../support/smtp-client.js";
import { until } from "../support/wait.ts";

const MAILS = 400;

describe("a burst of mail", () => {
  let d: TestDaemon;
  beforeEach(async () => {
    d = await new TestDaemon({ dir: newFolderInMemory(), config: "[receive]\nverify = false\n" }).start();
  });
  afterEach(async () => {
    await d.stop();
    d.remove();
  });

  /** Sends MAILS reports over 40 connections; the replies to DATA. */
  async function burst(tag: string): Promise<string[]> {
    const replies: string[] = [];
    const mails = Array.from({ length: MAILS }, (_, n) => ({
      to: "dmarc@example.org",
      data: dmarcMail({ id: `${tag}-${n}`, domain: `d${n % 9}.example.org`, records: 3 }),
    }));
    await sendAll(d.smtpPort, mails, 40, (_, reply) => replies.push(reply));
    return replies;
  }

  async function command(...words: string[]): Promise<void> {
    const ran = await d.ctlAsync(...words);
    expect(ran.code, ran.stderr).toBe(0);
  }

  /** The figures when nothing is left to parse. */
  async function figuresAtEnd(): Promise<Record<string, number>> {
    return until("all mail to be parsed", async () => {
      const stats = await d.statsNow();
      return stats["archive.unread"] === 0 ? stats : undefined;
    });
  }

  const FIGURES = {
    "archive.mail": MAILS,
    "archive.report.dmarc": MAILS,
    "archive.record": 3 * MAILS,
  };

  it("is acknowledged whether it is parsed before or after; the log has the outcome of each mail once", async () => {
    const replies = await burst("a");
    expect(replies.filter((reply) => /^250 2\.0\.0 Ok: kept as m\d+ /.test(reply))).toHaveLength(MAILS);
    expect(await figuresAtEnd()).toMatchObject(FIGURES);
    const accepted = d.events("mail.accepted");
    expect(accepted).toHaveLength(MAILS);
    const later = accepted.filter(({ outcome }) => outcome === "spooled").map(({ id }) => id);
    expect(replies.filter((reply) => reply.includes("(spooled)"))).toHaveLength(later.length);
    await until("the outcome of the last mail", () => d.events("mail.parsed").length >= later.length);
    const parsed = d.events("mail.parsed");
    expect(parsed.map(({ id }) => id).sort()).toEqual(later.sort());
    const outcomes = [...accepted, ...parsed].map(({ outcome }) => outcome);
    expect(outcomes.filter((outcome) => outcome === "imported")).toHaveLength(MAILS);
  });

  it("that a killed daemon has acknowledged and not parsed is parsed after the restart, once", async () => {
    await command("pause", "mda"); // so that all of it is unparsed, on a machine of any speed
    const replies = await burst("b");
    expect(replies.filter((reply) => /^250 .*\(spooled\)/.test(reply))).toHaveLength(MAILS);
    await d.stop("SIGKILL");
    await d.start();
    await command("resume", "mda");
    expect(await figuresAtEnd()).toMatchObject(FIGURES);
  });
});
