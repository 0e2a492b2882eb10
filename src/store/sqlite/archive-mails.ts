/** The rows of accepted mails: envelope, trust, outcome and the raw bytes. */

import type { Verdict } from "../../model/judge.ts";
import type { MailReading } from "../../model/reading.ts";
import type { ReportKind } from "../../model/report.ts";
import type { CarrierAuth, Intake } from "../archive.ts";
import type { Sqlite } from "./open.ts";

export interface StoredMail {
  readonly id: number;
  readonly tries: number;
  readonly state: string;
  readonly outcome: string | null;
  readonly intake: Intake;
}

interface MailRow {
  readonly id: number;
  readonly received_at: number;
  readonly source: string;
  readonly envelope_from: string | null;
  readonly envelope_to: string;
  readonly remote_ip: string | null;
  readonly remote_name: string | null;
  readonly tls: string | null;
  readonly form: "mail" | "file";
  readonly file_name: string | null;
  readonly kinds: string;
  readonly auth: CarrierAuth["verdict"];
  readonly auth_domain: string | null;
  readonly auth_more: string;
  readonly state: string;
  readonly tries: number;
  readonly outcome: string | null;
  readonly body: Buffer;
}

export type Mails = ReturnType<typeof prepareMails>;

export function prepareMails(database: Sqlite) {
  const insert = database.prepare(
    `INSERT INTO mail (received_at, source, envelope_from, envelope_to, remote_ip, remote_name, tls, size, form,
       file_name, kinds, auth, auth_domain, auth_more, state)
     VALUES (@receivedAt, @source, @envelopeFrom, @envelopeTo, @remoteIp, @remoteName, @tls, @size, @form, @fileName,
       @kinds, @auth, @authDomain, @authMore, @state)`,
  );
  const insertRaw = database.prepare("INSERT OR REPLACE INTO raw (mail_id, body) VALUES (?, ?)");
  const deleteRaw = database.prepare("DELETE FROM raw WHERE mail_id = ?");
  const settle = database.prepare(
    `UPDATE mail SET state = 'done', outcome = @outcome, reason = @reason, detail = @detail, header_from = @from,
       subject = @subject, message_id = @messageId, mail_date = @date WHERE id = @id`,
  );
  const insertItem = database.prepare(
    "INSERT INTO mail_item (mail_id, seq, kind, reason, detail, name) VALUES (?, ?, ?, ?, ?, ?)",
  );
  const deleteItems = database.prepare("DELETE FROM mail_item WHERE mail_id = ?");
  const begun = database.prepare("UPDATE mail SET tries = tries + 1 WHERE id = ?");
  const load = database.prepare<[number], MailRow>(
    "SELECT mail.*, body FROM mail JOIN raw ON mail_id = id WHERE id = ?",
  );
  const spooled = database
    .prepare<[number], number>("SELECT id FROM mail WHERE state = 'spooled' ORDER BY id LIMIT ?")
    .pluck();
  return {
    insert(intake: Intake, state: "spooled" | "done"): number {
      const { auth } = intake;
      const added = insert.run({
        receivedAt: intake.hints.receivedAt,
        source: intake.source,
        envelopeFrom: intake.envelopeFrom,
        envelopeTo: JSON.stringify(intake.envelopeTo),
        remoteIp: intake.remoteIp,
        remoteName: intake.remoteName,
        tls: intake.tls,
        size: intake.raw.byteLength,
        form: intake.hints.form,
        fileName: intake.hints.fileName,
        kinds: JSON.stringify(intake.kinds),
        auth: auth.verdict,
        authDomain: auth.domain,
        authMore: JSON.stringify({ dkimDomains: auth.dkimDomains, by: auth.by, detail: auth.detail }),
        state,
      });
      return Number(added.lastInsertRowid);
    },
    keepRaw(id: number, raw: Uint8Array): void {
      insertRaw.run(id, raw);
    },
    dropRaw(id: number): void {
      deleteRaw.run(id);
    },
    /** The reading of a mail has ended. */
    settle(id: number, verdict: Verdict, reading: MailReading | null): void {
      const headers = reading?.headers;
      settle.run({
        id,
        outcome: verdict.outcome,
        reason: verdict.reason,
        detail: verdict.detail?.slice(0, 1000) ?? null,
        from: headers?.from ?? null,
        subject: headers?.subject ?? null,
        messageId: headers?.messageId ?? null,
        date: headers?.date ?? null,
      });
      deleteItems.run(id);
      for (const [seq, item] of (reading?.items ?? []).entries()) {
        if (!item.ok)
          insertItem.run(
            id,
            seq,
            item.kind,
            item.reason,
            item.detail?.slice(0, 1000) ?? null,
            item.part.name,
          );
        else if (item.kept !== "new") {
          insertItem.run(id, seq, item.figures.kind, item.kept, item.figures.reportId, item.part.name);
        }
      }
    },
    /** One more reading of a spooled mail begins; durable with the transaction around it. */
    begun(id: number): void {
      begun.run(id);
    },
    spooled: (limit: number): number[] => spooled.all(limit),
    load(id: number): StoredMail | undefined {
      const row = load.get(id);
      if (!row) return undefined;
      const more = JSON.parse(row.auth_more) as Pick<CarrierAuth, "dkimDomains" | "by" | "detail">;
      return {
        id,
        tries: row.tries,
        state: row.state,
        outcome: row.outcome,
        intake: {
          raw: row.body,
          hints: { form: row.form, fileName: row.file_name, receivedAt: row.received_at },
          source: row.source,
          envelopeFrom: row.envelope_from,
          envelopeTo: JSON.parse(row.envelope_to) as string[],
          remoteIp: row.remote_ip,
          remoteName: row.remote_name,
          tls: row.tls,
          auth: { verdict: row.auth, domain: row.auth_domain, ...more },
          kinds: JSON.parse(row.kinds) as ReportKind[],
        },
      };
    },
  };
}
