/** The rows of accepted mails: envelope, authentication, outcome and the raw bytes. */
import type { MailOutcome } from "../../../model/mail-outcome.ts";
import type { MessageAuth } from "../../../model/message-auth.ts";
import type { ItemResult, MailHeaders } from "../../../model/reading.ts";
import type { ReportKind } from "../../../model/report.ts";
import type { Intake } from "../../archive/intake.ts";
import type { Sqlite } from "../open.ts";
import { numbering } from "./ids.ts";
import { RAW, type RawClass, rawClassOf } from "./raw-class.ts";

/** A stored mail without its bytes. */
export interface KnownMail {
  readonly spooled: boolean;
  readonly outcome: string | null;
  readonly mail: Omit<Intake, "raw">;
}

export interface SpooledMail {
  readonly id: number;
  /** Attempts to parse it that were begun and did not end. */
  readonly tries: number;
  /** Bytes. */
  readonly size: number;
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
  readonly kinds: string | null;
  readonly auth: MessageAuth["verdict"];
  readonly auth_domain: string | null;
  readonly auth_more: string | null;
  readonly state: string;
  readonly outcome: string | null;
}

/** Characters of a detail that are kept. */
const LONGEST_DETAIL = 1000;
/** Outcome, reason, detail, From, Subject, Message-ID, Date. */
const UNPARSED: readonly null[] = [null, null, null, null, null, null, null];

type AuthMore = Pick<MessageAuth, "dkimDomains" | "tls" | "by" | "detail">;

/** What is kept of a verification besides its verdict; null when there was none. */
function authMore({ dkimDomains, tls, by, detail }: MessageAuth): string | null {
  if (dkimDomains.length === 0 && tls === "none" && by === null && detail === null) return null;
  return JSON.stringify({ dkimDomains, tls, by, detail });
}

/** The inverse of `authMore`. */
export function readAuthMore(text: string | null): AuthMore {
  if (text === null) return { dkimDomains: [], tls: "none", by: null, detail: null };
  return JSON.parse(text) as AuthMore;
}

function resultOf({ outcome, reason, detail }: MailOutcome, headers: MailHeaders | null): readonly unknown[] {
  return [
    outcome,
    reason,
    detail?.slice(0, LONGEST_DETAIL) ?? null,
    headers?.from ?? null,
    headers?.subject ?? null,
    headers?.messageId ?? null,
    headers?.date ?? null,
  ];
}

/** What is kept of a mail that was parsed, besides its reports. */
export interface ParsedMail extends MailOutcome {
  readonly headers: MailHeaders | null;
  readonly items: readonly ItemResult[];
}

export type Mails = ReturnType<typeof prepareMails>;

export function prepareMails(database: Sqlite) {
  const ids = numbering(database, "mail");
  const insert = database.prepare(
    `INSERT INTO mail (id, received_at, source, envelope_from, envelope_to, remote_ip, remote_name, tls, size, form,
       file_name, kinds, auth, auth_domain, auth_more, state, raw, outcome, reason, detail, header_from, subject,
       message_id, mail_date)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  const insertRaw = database.prepare("INSERT INTO raw (mail_id, body) VALUES (?, ?)");
  const deleteRaw = database.prepare("DELETE FROM raw WHERE mail_id = ?");
  const noRaw = database.prepare("UPDATE mail SET raw = 0 WHERE id = ?");
  const settle = database.prepare(
    `UPDATE mail SET state = 'done', raw = CASE raw WHEN 0 THEN 0 ELSE ? END, outcome = ?, reason = ?, detail = ?, header_from = ?, subject = ?, message_id = ?,
       mail_date = ? WHERE id = ?`,
  );
  const insertItem = database.prepare(
    "INSERT INTO mail_item (mail_id, seq, kind, reason, detail, name) VALUES (?, ?, ?, ?, ?, ?)",
  );
  const deleteItems = database.prepare("DELETE FROM mail_item WHERE mail_id = ?");
  const begun = database.prepare("UPDATE mail SET tries = tries + 1 WHERE id = ?");
  const notBegun = database.prepare(
    "UPDATE mail SET tries = max(0, tries - 1) WHERE id = ? AND state = 'spooled'",
  );
  const triesOf = database.prepare<[number], number>("SELECT tries FROM mail WHERE id = ?").pluck();
  const ends = database.prepare<[], { oldest: number | null; newest: number | null }>(
    `SELECT (SELECT min(id) FROM mail WHERE state = 'spooled') AS oldest,
       (SELECT max(id) FROM mail WHERE state = 'spooled') AS newest`,
  );
  const known = database.prepare<[number], MailRow>("SELECT * FROM mail WHERE id = ?");
  const raw = database.prepare<[number], Buffer>("SELECT body FROM raw WHERE mail_id = ?").pluck();
  const spooled = database.prepare<[number], SpooledMail>(
    "SELECT id, tries, size FROM mail WHERE state = 'spooled' ORDER BY id LIMIT ?",
  );

  function insertRow(
    id: number,
    intake: Intake,
    state: "spooled" | "done",
    raw: RawClass,
    result: readonly unknown[],
  ): void {
    const { auth } = intake;
    insert.run(
      id,
      intake.hints.receivedAt,
      intake.source,
      intake.envelopeFrom,
      JSON.stringify(intake.envelopeTo),
      intake.remoteIp,
      intake.remoteName,
      intake.tls,
      intake.raw.byteLength,
      intake.hints.form,
      intake.hints.fileName,
      intake.kinds.length > 0 ? JSON.stringify(intake.kinds) : null,
      auth.verdict,
      auth.domain,
      authMore(auth),
      state,
      raw,
      ...result,
    );
  }

  function insertItems(id: number, items: readonly ItemResult[]): void {
    for (const [seq, item] of items.entries()) {
      if (!item.ok) {
        const { kind, reason, detail, part } = item;
        insertItem.run(id, seq, kind, reason, detail?.slice(0, LONGEST_DETAIL) ?? null, part.name);
      } else if (item.kept !== "new") {
        insertItem.run(id, seq, item.figures.kind, item.kept, item.figures.reportId, item.part.name);
      }
    }
  }

  return {
    nextId: ids.next,
    /** The transaction was rolled back. */
    undo: ids.undo,
    /** A mail that is parsed later. */
    insertSpooled(id: number, intake: Intake): void {
      insertRow(id, intake, "spooled", RAW.unparsed, UNPARSED);
    },
    /** A mail that was parsed; `keepsRaw`: the caller stores its bytes. */
    insertParsed(id: number, intake: Intake, parsed: ParsedMail, keepsRaw: boolean): void {
      const raw = keepsRaw ? rawClassOf(parsed.outcome) : RAW.none;
      insertRow(id, intake, "done", raw, resultOf(parsed, parsed.headers));
      insertItems(id, parsed.items);
    },
    keepRaw(id: number, raw: Uint8Array): void {
      insertRaw.run(id, raw);
    },
    dropRaw(id: number): void {
      deleteRaw.run(id);
      noRaw.run(id);
    },
    /** A stored mail was parsed, for the first time or again. */
    settle(id: number, parsed: ParsedMail): void {
      settle.run(rawClassOf(parsed.outcome), ...resultOf(parsed, parsed.headers), id);
      deleteItems.run(id);
      insertItems(id, parsed.items);
    },
    /** One more attempt to parse a spooled mail begins; durable with the transaction around it. */
    begun(id: number): void {
      begun.run(id);
    },
    /** The attempt ended, and the mail is spooled as before. */
    notBegun(id: number): void {
      notBegun.run(id);
    },
    /** Attempts that were begun; asked without loading the bytes, which may be what ends the process. */
    triesOf: (id: number): number => triesOf.get(id) ?? 0,
    /** Spooled mails, oldest first. */
    spooled: (limit: number): SpooledMail[] => spooled.all(limit),
    /** Numbers of the oldest and the newest spooled mail. */
    spoolEnds: () => ends.get()!,
    /** The bytes of a mail; undefined when they are gone. */
    raw: (id: number): Buffer | undefined => raw.get(id),
    /** A mail without its bytes; undefined: there is none. */
    known(id: number): KnownMail | undefined {
      const row = known.get(id);
      if (!row) return undefined;
      const more = readAuthMore(row.auth_more);
      return {
        spooled: row.state === "spooled",
        outcome: row.outcome,
        mail: {
          hints: { form: row.form, fileName: row.file_name, receivedAt: row.received_at },
          source: row.source,
          envelopeFrom: row.envelope_from,
          envelopeTo: JSON.parse(row.envelope_to) as string[],
          remoteIp: row.remote_ip,
          remoteName: row.remote_name,
          tls: row.tls,
          auth: { verdict: row.auth, domain: row.auth_domain, ...more },
          kinds: row.kinds === null ? [] : (JSON.parse(row.kinds) as ReportKind[]),
        },
      };
    },
  };
}
