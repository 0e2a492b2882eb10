/** Stores the reports of a mail: tells new ones from duplicates, and writes the rows of those that are new. */
import type { JudgedMail, JudgedReport, Refusal, Standing } from "../../../model/counting.ts";
import { authFor } from "../../../model/message-auth.ts";
import type { ItemResult, Kept } from "../../../model/reading.ts";
import type { DmarcHead, DsnReport, TlsHead } from "../../../model/report.ts";
import type { StagedContent } from "../../../model/staged.ts";
import type { Intake } from "../../archive/intake.ts";
import type { Sqlite } from "../open.ts";
import { makeDomainNotes } from "./domains.ts";
import { makeExpiredKeys } from "./expired-keys.ts";
import { numbering } from "./ids.ts";
import { type Interner, monthOf } from "./intern.ts";
import { makeRecordWriter } from "./record-writer.ts";
import { makeReportRemoval, type PreviousReports, reportKey } from "./remove-reports.ts";
import { keyOf, type ReportKey } from "./report-keys.ts";
import { prepareReportStatements } from "./statements.ts";
import { type Sums, sumsText } from "./sums.ts";
import { makeTlsWriter } from "./tls-writer.ts";

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
}

/** The stored report with the same key; of one that has expired, the begin of its hash. */
interface Stored {
  readonly content_hash: Buffer;
}

export interface ReportArchive {
  /**
   * Stores the reports of one mail.
   * @param previous the reports of the mail before it is parsed again: one with the same key keeps its number
   */
  store(
    mailId: number,
    mail: Omit<Intake, "raw">,
    content: JudgedMail,
    previous?: PreviousReports,
  ): MailReports;
  /** Deletes a report with all that belongs to it, and subtracts it from the sums. */
  remove(reportId: number): void;
  /** Deletes all reports of a mail; tells what they were. */
  removeOfMail(mailId: number): PreviousReports;
  /** Forgets what is cached: the transaction was rolled back. */
  undo(): void;
  /** Forgets ids of names: rows of names were deleted. */
  forgetNames(): void;
}

export function makeReportArchive(database: Sqlite, intern: Interner, sums: Sums): ReportArchive {
  const sql = prepareReportStatements(database);
  const ids = numbering(database, "report");
  const records = makeRecordWriter(database, intern);
  const tls = makeTlsWriter(database);
  const notes = makeDomainNotes(database);
  const expired = makeExpiredKeys(database);
  const { remove, removeOfMail } = makeReportRemoval(sql, sums, intern, notes);

  /** A place for a report, or the stored one with the same key. */
  function place(
    report: JudgedReport,
    standing: Accepted,
    receivedAt: number,
    previous: PreviousReports,
  ): { readonly stored: Stored } | { readonly fresh: Fresh } {
    const key = keyOf(report, receivedAt);
    const orgId = intern.org(key.org, nameMonth(key, receivedAt));
    const domains = key.domains.join(",");
    const stored =
      key.kind === "dmarc" || key.kind === "tls"
        ? sql.byKey.get(key.reportId, orgId, key.kind, domains, key.begin, key.end)
        : sql.byContent.get(key.reportId, orgId, key.kind, domains);
    const better = stored && stored.auth !== "pass" && standing.authenticated;
    if (stored && !better) return { stored };
    const late = stored ? undefined : expired.find(key);
    if (late) return { stored: late };
    const before = previous.get(reportKey({ ...key, orgId, domains }));
    const id = before?.id ?? ids.next();
    const recordsKept = before?.recordsKept ?? true;
    return { fresh: { id, key, orgId, standing, recordsKept, replaces: stored?.id } };
  }

  /** Writes what the report says, besides its row; returns what it adds to the sums. */
  function writeContent(
    { id, key, recordsKept }: Fresh,
    content: StagedContent,
    receivedAt: number,
  ): string | null {
    switch (content.kind) {
      case "dmarc":
        if (recordsKept) records.write(id, content.records, monthOf(receivedAt));
        break;
      case "tls":
        if (recordsKept) tls.write(id, content.policies);
        break;
      case "dsn":
        for (const [i, r] of content.head.recipients.entries())
          sql.insertRecipient.run(id, i, r.finalRecipient, r.action, r.status, r.diagnostic);
        break;
      default:
    }
    return sumsText(content, intern, nameMonth(key, receivedAt));
  }

  /** Writes the row of a report and adds it to the sums. */
  function keep(mailId: number, mail: Omit<Intake, "raw">, report: JudgedReport, fresh: Fresh): void {
    const { id, key, orgId, standing, recordsKept, replaces } = fresh;
    const { content, figures, part, contentHash } = report;
    if (replaces !== undefined) remove(replaces);
    const receivedAt = mail.hints.receivedAt;
    const month = nameMonth(key, receivedAt);
    const added = writeContent(fresh, content, receivedAt);
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
    store(mailId, mail, { items }, previous = new Map()) {
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
        const placed = place(report, standing, mail.hints.receivedAt, previous);
        if ("stored" in placed)
          return contentHash.startsWith(placed.stored.content_hash.toString("hex"))
            ? "duplicate"
            : "conflict";
        keep(mailId, mail, report, placed.fresh);
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
