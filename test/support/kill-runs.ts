/** kill -9 under load: every acknowledged mail is in the archive once. */

import type { TestDaemon } from "./daemon.ts";
import { ndjson } from "./daemon.ts";
import { dmarcMail } from "./report-mail.js";
import { SmtpClient } from "./smtp-client.js";
import { until } from "./wait.ts";

export interface KillResult {
  readonly acknowledged: number;
  readonly kills: number;
  /** Report ids that were acknowledged and are not in the archive. */
  readonly lost: string[];
  /** Report ids that are in the archive more than once. */
  readonly doubled: string[];
}

/**
 * Sends `mails` report mails over `connections` connections while the daemon is killed `kills` times at regular
 * intervals and started again; a mail without a reply is sent again, as senders do.
 */
export async function killRuns(
  daemon: TestDaemon,
  mails: number,
  kills: number,
  connections = 8,
  records = 3,
): Promise<KillResult> {
  const list = Array.from({ length: mails }, (_, i) => {
    const id = `kill-${String(i).padStart(6, "0")}`;
    return { id, data: dmarcMail({ id, domain: `d${i % 7}.example.org`, records }) };
  });
  const acknowledged = new Set<string>();
  const todo = [...list];
  let killed = 0;
  let restarting: Promise<unknown> | undefined;
  const killAt = (n: number) => Math.floor(((n + 1) * mails) / (kills + 1));

  const worker = async (): Promise<void> => {
    while (todo.length > 0) {
      await restarting;
      let client: SmtpClient;
      try {
        client = await SmtpClient.open(daemon.smtpPort);
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 20));
        continue; // the daemon is down; the sender tries again
      }
      for (;;) {
        const mail = todo.shift();
        if (!mail) break;
        try {
          const reply = await client.send("r@reporter.example", "dmarc@example.org", mail.data);
          if (reply.startsWith("250")) acknowledged.add(mail.id);
          else todo.push(mail);
        } catch {
          todo.push(mail); // no reply: the sender tries again
          break;
        }
        if (killed < kills && acknowledged.size >= killAt(killed)) {
          killed++;
          restarting = (async () => {
            await daemon.stop("SIGKILL");
            await daemon.start();
          })();
        }
      }
      client.destroy();
    }
  };
  await Promise.all(Array.from({ length: connections }, worker));
  await restarting;
  await until("all mail to be parsed", async () => (await daemon.statsNow())["archive.unread"] === 0);

  const count = new Map<string, number>();
  let after: string | undefined;
  for (;;) {
    const ran = await daemon.ctlAsync(
      "show",
      "received",
      "--reports",
      "--json",
      "--limit",
      "1000",
      ...(after ? ["--after", after] : []),
    );
    const lines = ndjson(ran.stdout);
    const end = lines.pop() as { end?: { next: string | null } };
    for (const line of lines) {
      const id = String(line.report_id);
      count.set(id, (count.get(id) ?? 0) + 1);
    }
    if (!end?.end) throw new Error(`no end record: ${ran.stderr}`);
    if (end.end.next === null) break;
    after = end.end.next;
  }
  return {
    acknowledged: acknowledged.size,
    kills: killed,
    lost: [...acknowledged].filter((id) => !count.has(id)),
    doubled: [...count].filter(([, n]) => n > 1).map(([id]) => id),
  };
}
