/** Stores the reports of a mail: tells new ones from duplicates, and writes the rows of those that are new. */
import type { JudgedMail, JudgedReport, Refusal, Standing } from "../../../model/counting.ts";
import { authFor } from "../../../model/message-auth.ts";
import type { ItemResult, Kept } from "../../../model/reading.ts";
import type { DmarcHead, DsnReport, TlsHead } from "../../../model/report.ts";
import type { Intake } from "../../archive/intake.ts";
import type { Sqlite } from "../open.ts";
import { makeDomainNotes } from "./domains.ts";
import { makeExpiredKeys } from "./expired-keys.ts";
import { numbering } from "./ids.ts";
import { type Interner, monthOf } from "./intern.ts";
import { makeReportRemoval, type PreviousReports, reportKey } from "./remove-reports.ts";
import { keyOf, type ReportKey } from "./report-keys.ts";
import type { ReportRows } from "./report-rows.ts";
import type { Staging } from "./staging.ts";
import { prepareReportStatements, type StoredRow } from "./statements.ts";
import { type Sums, sumsText } from "./sums.ts";

/** What became of the reports of one mail. */
export interface MailReports {
  readonly items: readonly ItemResult[];
  readonly reportIds: readonly number[];
  readonly dsns: readonly DsnReport[];
  readonly refusals: ReadonlySet<Refusal>;
}

type Accepted = Extract<Standing, { readonly refusal: null }>;

/** A report that is not in the archive yet, and its place there. */
interface Fresh {
  readonly id: number;
  readonly key: ReportKey;
  readonly orgId: number;
  readonly standing: Accepted;
  /** False: its mail is parsed again, and its records have expired. */
  readonly recordsKept: boolean;
  /** A stored report that anybody could have sent: an authenticated one with its key replaces it. */
  readonly replaces: number | undefined;
  /** Its mail is parsed again: the report had this number before, and rows under it may not be deleted yet. */
  readonly hadNumber: boolean;
}

/** The rows of reports that are stored before their reports: the number under which they are. */
export type StagedRows = ReadonlyMap<JudgedReport, number>;

/** What is known of the reports of a mail before they are stored. */
export interface Before {
  /** The reports of the mail before it was parsed again: one with the same key keeps its number. */
  readonly previous?: PreviousReports;
  readonly staged?: StagedRows;
}

/** The report with the same key; of one that has expired, the begin of its hash. */
type Found = StoredRow | { readonly content_hash: Buffer };

export interface ReportArchive {
  /** Stores the reports of one mail. */
  store(mailId: number, mail: Omit<Intake, "raw">, content: JudgedMail, before?: Before): MailReports;
  /**
   * Whether `store` would write the rows of this report, as far as that is known now: it is not refused, no duplicate of
   * one that is stored or has expired, and its records have not expired.
   * @param mailId of the mail, when it is stored already
   */
  hasNewRows(report: JudgedReport, mailId: number | undefined, receivedAt: number): boolean;
  /** A number for a report, to store its rows before it. */
  nextId(): number;
  /** Deletes a report with all that belongs to it, and subtracts it from the sums. */
  remove(reportId: number): void;
  /** Deletes all reports of a mail; tells what they were. */
  removeOfMail(mailId: number): PreviousReports;
  /** Forgets what is cached: the transaction was rolled back. */
  undo(): void;
  /** Forgets ids of names: rows of names were deleted. */
  forgetNames(): void;
}

export interface ReportParts {
  readonly database: Sqlite;
  readonly intern: Interner;
  readonly sums: Sums;
  readonly rows: ReportRows;
  readonly staging: Staging;
}

export function makeReportArchive({ database, intern, sums, rows, staging }: ReportParts): ReportArchive {
  const sql = prepareReportStatements(database);
  const ids = numbering(database, "report");
  const notes = makeDomainNotes(database);
  const expired = makeExpiredKeys(database);
  const { remove, removeOfMail } = makeReportRemoval({ sql, sums, notes, staging });

  /** The stored report with this key. */
  function find(key: ReportKey, orgId: number, domains: string): StoredRow | undefined {
    return key.kind === "dmarc" || key.kind === "tls"
      ? sql.byKey.get(key.reportId, orgId, key.kind, domains, key.begin, key.end)
      : sql.byContent.get(key.reportId, orgId, key.kind, domains);
  }

  /** An authenticated report takes the place of one that anybody could have sent. */
  const isBetter = (standing: Accepted, stored: StoredRow): boolean =>
    stored.auth !== "pass" && standing.authenticated;

  /** A place for a report, or the stored one with the same key. */
  function place(
    report: JudgedReport,
    standing: Accepted,
    receivedAt: number,
    { previous, staged }: Before,
  ): { readonly stored: Found } | { readonly fresh: Fresh } {
    const key = keyOf(report, receivedAt);
    const orgId = intern.org(key.org, nameMonth(key, receivedAt));
    const domains = key.domains.join(",");
    const stored = find(key, orgId, domains);
    if (stored && !isBetter(standing, stored)) return { stored };
    const late = stored ? undefined : expired.find(key);
    if (late) return { stored: late };
    const before = previous?.get(reportKey({ ...key, orgId, domains }));
    const id = before?.id ?? staged?.get(report) ?? ids.next();
    const recordsKept = before?.recordsKept ?? true;
    const hadNumber = before !== undefined;
    return { fresh: { id, key, orgId, standing, recordsKept, replaces: stored?.id, hadNumber } };
  }

  /** Writes the rows of the content, or takes those that were staged. */
  function keepRows(
    { id, recordsKept, hadNumber }: Fresh,
    report: JudgedReport,
    receivedAt: number,
    staged?: StagedRows,
  ): void {
    if (hadNumber) {
      rows.deleteAll(id);
      staging.adopted(id);
    }
    if (!recordsKept) return; // staged rows are deleted after the transaction
    const from = staged?.get(report);
    if (from === undefined) {
      rows.write(id, report.content, monthOf(receivedAt));
      return;
    }
    if (from !== id) rows.move(from, id);
    staging.adopted(from);
  }

  /** Writes the row of a report and adds it to the sums. */
  function keep(
    mailId: number,
    mail: Omit<Intake, "raw">,
    report: JudgedReport,
    fresh: Fresh,
    staged: StagedRows | undefined,
  ): void {
    const { id, key, orgId, standing, recordsKept, replaces } = fresh;
    const { content, figures, part, contentHash } = report;
    if (replaces !== undefined) remove(replaces);
    const receivedAt = mail.hints.receivedAt;
    const month = nameMonth(key, receivedAt);
    keepRows(fresh, report, receivedAt, staged);
    const added = sumsText(content, intern, month);
    const shared = content.kind === "dmarc" || content.kind === "tls" ? sharedHead(content.head) : null;
    const domainId = key.domains[0] === undefined ? null : intern.domain(key.domains[0], month);
    sql.insertReport.run(
      id,
      mailId,
      key.kind,
      orgId,
      key.reportId,
      shared?.reportIdRaw ?? null,
      domainId,
      key.domains.join(","),
      key.begin,
      key.end,
      Buffer.from(contentHash, "hex"),
      figures.records,
      figures.messages,
      figures.passMessages,
      figures.droppedRecords,
      standing.counted ? 1 : 0,
      added,
      standing.foreign ? 1 : 0,
      authFor(key.kind, mail.auth),
      mail.auth.domain,
      receivedAt,
      shared && intern.head(shared.body, monthOf(receivedAt)),
      shared ? null : JSON.stringify(content.head),
      part.name,
      part.mediaType,
      part.size,
      recordsKept ? 1 : 0,
    );
    for (const { code, count, detail } of figures.warnings) sql.insertWarning.run(id, code, count, detail);
    note(id, fresh, receivedAt);
    if (content.kind === "dmarc") notes.sawPolicy(domainId!, content.head.policy.p, key.begin);
    if (standing.counted) {
      const { kind, begin, end } = key;
      const stored = recordsKept ? figures.records : 0;
      sums.add({ kind, orgId, domainId, begin, end, sums: added, records: stored }, 1);
    }
    sums.count(`archive.report.${key.kind}`, 1);
    if (!standing.counted) sums.count(`archive.uncounted.${key.kind}`, 1);
  }

  /** Who reported about which domains. */
  function note(id: number, { key, orgId }: Fresh, receivedAt: number): void {
    const range = { begin: key.begin, end: key.end, receivedAt };
    for (const [i, name] of key.domains.entries()) {
      const domainId = intern.domain(name, nameMonth(key, receivedAt));
      notes.reported(domainId, orgId, range);
      if (i > 0) sql.insertAlso.run(domainId, id);
    }
  }

  function forgetNames(): void {
    intern.clear();
    notes.clear();
  }

  return {
    remove,
    removeOfMail,
    forgetNames,
    undo() {
      forgetNames();
      ids.undo();
    },
    nextId: ids.next,
    hasNewRows(report, mailId, receivedAt) {
      const { standing } = report;
      if (standing.refusal !== null) return false;
      const key = keyOf(report, receivedAt);
      const stored = find(key, intern.org(key.org, nameMonth(key, receivedAt)), key.domains.join(","));
      if (!stored) return !expired.find(key); // a late copy of one that has expired is a duplicate, or a conflict
      // its own report from before is replaced
      if (stored.mail_id === mailId) return stored.records_kept === 1;
      return isBetter(standing, stored);
    },
    store(mailId, mail, { items }, before = {}) {
      const reportIds: number[] = [];
      const dsns: DsnReport[] = [];
      const refusals = new Set<Refusal>();
      const storeOne = (report: JudgedReport): Kept => {
        const { standing, content, contentHash } = report;
        if (content.kind === "dsn") dsns.push(content.head);
        if (standing.refusal !== null) {
          refusals.add(standing.refusal);
          return "refused";
        }
        const placed = place(report, standing, mail.hints.receivedAt, before);
        if ("stored" in placed)
          return contentHash.startsWith(placed.stored.content_hash.toString("hex"))
            ? "duplicate"
            : "conflict";
        keep(mailId, mail, report, placed.fresh, before.staged);
        reportIds.push(placed.fresh.id);
        return "new";
      };
      const results = items.map((item): ItemResult => {
        if (!item.ok) return item;
        const { figures, part } = item;
        return { ok: true, figures, part, kept: storeOne(item) };
      });
      return { items: results, reportIds, dsns, refusals };
    },
  };
}

/** The month that domains and organisations note: day sums of the report's period refer to them, too. */
function nameMonth({ end }: ReportKey, receivedAt: number): number {
  return monthOf(Math.max(receivedAt, end));
}

/** What the reports of one reporter about one domain have in common from day to day, as the text that is interned. */
function sharedHead(head: DmarcHead | TlsHead): {
  readonly body: string;
  readonly reportIdRaw: string | null;
} {
  const { reportId: _id, reportIdRaw, begin: _begin, end: _end, ...shared } = head;
  return { body: JSON.stringify(shared), reportIdRaw };
}
