/** Writes the reports of one mail as they are parsed, record by record: at most a block of them is held in memory. */

import type { ReceivePolicy } from "../../../model/counting.ts";
import { isWithin } from "../../../model/domain-name.ts";
import { packEvaluation } from "../../../model/figures.ts";
import { authFor } from "../../../model/message-auth.ts";
import type { Kept, PartInfo, ReportSink, ReportWriter } from "../../../model/reading.ts";
import type {
  DmarcHead,
  DsnReport,
  FeedbackReport,
  ReportFigures,
  ReportKind,
  TlsHead,
  TlsPolicyResult,
} from "../../../model/report.ts";
import type { Intake } from "../../archive/intake.ts";
import type { Sqlite } from "../open.ts";
import { makeDomainNotes } from "./domains.ts";
import { numbering } from "./ids.ts";
import type { Interner } from "./intern.ts";
import { authsetOf, BLOCKS_PER_REPORT, BlockPacker, extraOf } from "./records.ts";
import { makeReportRemoval, type PreviousReports, reportKey } from "./remove-reports.ts";
import { prepareReportStatements } from "./statements.ts";
import { evaluationsText, type Sums, sessionsText } from "./sums.ts";

/** Why a report was refused, though it could be parsed. */
export type Refusal = "unauthenticated" | "wrong-kind";

/** What became of the reports of one mail. */
export interface MailReports {
  readonly sink: ReportSink;
  readonly reportIds: number[];
  readonly dsns: DsnReport[];
  readonly refusals: Set<Refusal>;
}

/** What tells a report from all others. */
interface ReportKey {
  readonly org: string;
  readonly reportId: string;
  /** Policy domains. */
  readonly domains: readonly string[];
  readonly begin: number;
  readonly end: number;
}

/** A report that is not in the archive yet, and its place there. */
interface Fresh {
  readonly id: number;
  readonly key: ReportKey;
  readonly orgId: number;
  readonly domainId: number | null;
  readonly foreign: boolean;
  readonly counted: boolean;
  /** False: its mail is parsed again, and its records have expired. */
  readonly recordsKept: boolean;
  /** A stored report that anybody could have sent: an authenticated one with its key replaces it. */
  readonly replaces: number | undefined;
}

/** The one with the same key. */
interface Stored {
  readonly id: number;
  readonly content_hash: Buffer;
}

type Head = DmarcHead | TlsHead | FeedbackReport | DsnReport;

/** Everything that stays the same from mail to mail. */
export interface ReportArchive {
  /**
   * A sink for one mail.
   * @param previous the reports of the mail before it is parsed again: one with the same key keeps its number
   */
  of(mailId: number, intake: Omit<Intake, "raw">, previous?: PreviousReports): MailReports;
  /** Deletes a report with all that belongs to it, and subtracts it from the sums. */
  remove(reportId: number): void;
  /** Deletes all reports of a mail; tells what they were. */
  removeOfMail(mailId: number): PreviousReports;
  setPolicy(policy: ReceivePolicy): void;
  /** Forgets what is cached: the transaction was rolled back. */
  undo(): void;
}

/** Sources whose report mails are authenticated. */
const MAILED = new Set(["smtp", "lmtp", "imap"]);

export function makeReportArchive(
  database: Sqlite,
  intern: Interner,
  sums: Sums,
  first: ReceivePolicy,
): ReportArchive {
  const sql = prepareReportStatements(database);
  const ids = numbering(database, "report");
  const packer = new BlockPacker();
  const notes = makeDomainNotes(database);
  const { remove, removeOfMail } = makeReportRemoval(sql, sums, intern, notes);
  let policy = first;

  function refusalOf(kind: ReportKind, intake: Omit<Intake, "raw">): Refusal | undefined {
    if (intake.kinds.length > 0 && !intake.kinds.includes(kind)) return "wrong-kind";
    if (policy.requireAuth[kind] !== "reject" || !MAILED.has(intake.source)) return undefined;
    return authFor(kind, intake.auth) === "pass" ? undefined : "unauthenticated";
  }

  function isForeign(domains: readonly string[]): boolean {
    if (policy.domains.length === 0 || domains.length === 0) return false;
    return !domains.some((domain) => policy.domains.some((ours) => isWithin(domain, ours)));
  }

  /** Whether a report may enter the figures; unless told otherwise, TLS reports must be authenticated (RFC 8460 3). */
  function isTrusted(kind: ReportKind, intake: Omit<Intake, "raw">): boolean {
    if (!policy.verifies || !MAILED.has(intake.source) || policy.requireAuth[kind] === "off") return true;
    return authFor(kind, intake.auth) === "pass" || policy.countUnverified.includes(kind);
  }

  function clear(): void {
    intern.clear();
    notes.clear();
  }

  return {
    remove,
    removeOfMail,
    undo() {
      clear();
      ids.undo();
    },
    setPolicy(next) {
      policy = next;
    },
    of(mailId, intake, previous = new Map()) {
      const reportIds: number[] = [];
      const dsns: DsnReport[] = [];
      const refusals = new Set<Refusal>();

      /** A place for a report, or the stored one with the same key. */
      function place(head: Head, key: ReportKey): { readonly stored: Stored } | { readonly fresh: Fresh } {
        const orgId = intern.org(key.org);
        const joined = key.domains.join(",");
        const stored =
          head.kind === "dmarc" || head.kind === "tls"
            ? sql.byKey.get(key.reportId, orgId, head.kind, joined, key.begin, key.end)
            : sql.byContent.get(key.reportId, orgId, head.kind, joined);
        const passed = authFor(head.kind, intake.auth) === "pass";
        const better = stored && stored.auth !== "pass" && passed && policy.verifies;
        if (stored && !better) return { stored };
        const foreign = isForeign(key.domains);
        const before = previous.get(reportKey({ ...key, kind: head.kind, orgId, domains: joined }));
        return {
          fresh: {
            id: before?.id ?? ids.next(),
            recordsKept: before?.recordsKept ?? true,
            key,
            orgId,
            domainId: key.domains[0] === undefined ? null : intern.domain(key.domains[0]),
            foreign,
            counted: !foreign && isTrusted(head.kind, intake),
            replaces: stored?.id,
          },
        };
      }

      /** Writes the row of a report that is complete. */
      function keep(
        { id, key, orgId, domainId, counted, foreign, recordsKept, replaces }: Fresh,
        head: Head,
        part: PartInfo,
        figures: ReportFigures,
        contentHash: string,
        added: string | null,
      ): Kept {
        if (replaces !== undefined) remove(replaces);
        const shared = head.kind === "dmarc" || head.kind === "tls" ? sharedHead(head) : null;
        sql.insertReport.run(
          id,
          mailId,
          head.kind,
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
          counted ? 1 : 0,
          added,
          foreign ? 1 : 0,
          authFor(head.kind, intake.auth),
          intake.auth.domain,
          intake.hints.receivedAt,
          shared && intern.head(shared.body),
          shared ? null : JSON.stringify(head),
          part.name,
          part.mediaType,
          part.size,
          recordsKept ? 1 : 0,
        );
        for (const { code, count, detail } of figures.warnings)
          sql.insertWarning.run(id, code, count, detail);
        const range = { begin: key.begin, end: key.end, receivedAt: intake.hints.receivedAt };
        for (const [i, name] of key.domains.entries()) {
          notes.reported(intern.domain(name), orgId, range);
          if (i > 0) sql.insertAlso.run(intern.domain(name), id);
        }
        if (head.kind === "dmarc") notes.sawPolicy(domainId!, head.policy.p, key.begin);
        sums.count(`archive.report.${figures.kind}`, 1);
        if (!counted) sums.count(`archive.uncounted.${figures.kind}`, 1);
        reportIds.push(id);
        return "new";
      }

      const compare = (stored: Buffer, contentHash: string): Kept =>
        stored.toString("hex") === contentHash ? "duplicate" : "conflict";

      function skipped(close: (contentHash: string) => Kept): ReportWriter {
        return {
          record() {},
          policy() {},
          close: (_figures, contentHash) => close(contentHash),
          abort() {},
        };
      }

      function open(head: DmarcHead | TlsHead, part: PartInfo): ReportWriter {
        const refusal = refusalOf(head.kind, intake);
        if (refusal) {
          refusals.add(refusal);
          return skipped(() => "refused");
        }
        return head.kind === "dmarc" ? openDmarc(head, part) : openTls(head, part);
      }

      function openDmarc(head: DmarcHead, part: PartInfo): ReportWriter {
        const placed = place(head, { ...head, org: head.orgName, domains: [head.policy.domain] });
        if ("stored" in placed) {
          const { stored } = placed;
          return skipped((contentHash) => compare(stored.content_hash, contentHash));
        }
        const { fresh } = placed;
        const evaluations = new Map<number, number>();
        let blocks = 0;
        /** A savepoint is set: blocks are written before the report is complete. */
        let begun = false;
        packer.clear();
        const writeBlock = (): void => {
          const { body, extra } = packer.take();
          sql.insertBlock.run(fresh.id * BLOCKS_PER_REPORT + blocks++, body, extra);
        };
        return {
          record(record) {
            const evaluation = packEvaluation(record);
            evaluations.set(evaluation, (evaluations.get(evaluation) ?? 0) + record.count);
            if (!fresh.recordsKept) return;
            if (packer.isFull) {
              if (!begun) sql.savepoint.run();
              begun = true;
              writeBlock();
            }
            const sourceId = intern.source(record.sourceIp);
            packer.add(
              sourceId,
              intern.authset(authsetOf(record)),
              evaluation,
              record.count,
              extraOf(record),
            );
          },
          policy() {},
          close(figures, contentHash) {
            if (!packer.isEmpty) writeBlock();
            if (fresh.counted) {
              const at = { ...head, domainId: fresh.domainId!, orgId: fresh.orgId };
              sums.dmarc(at, evaluations, fresh.recordsKept ? figures.records : 0, 1);
            }
            const kept = keep(fresh, head, part, figures, contentHash, evaluationsText(evaluations));
            if (begun) sql.release.run();
            return kept;
          },
          abort() {
            packer.clear();
            if (!begun || !database.inTransaction) return; // a full disk rolls back the whole transaction
            sql.rollback.run();
            sql.release.run();
            clear(); // ids given since the savepoint are gone
          },
        };
      }

      function openTls(head: TlsHead, part: PartInfo): ReportWriter {
        // the policy domains belong to the key and come after the head: held until the end, they are few
        const policies: TlsPolicyResult[] = [];
        return {
          record() {},
          policy(result) {
            policies.push(result);
          },
          close(figures, contentHash) {
            const domains = [
              ...new Set(policies.map((p) => p.policyDomain).filter((d) => d !== null)),
            ].sort();
            const placed = place(head, { ...head, org: head.orgName, domains });
            if ("stored" in placed) return compare(placed.stored.content_hash, contentHash);
            const { fresh } = placed;
            if (fresh.recordsKept)
              for (const [i, result] of policies.entries()) writePolicy(fresh, i, result);
            const sessions = policies.flatMap(({ policyDomain, successes, failures }) =>
              policyDomain === null ? [] : [{ domainId: intern.domain(policyDomain), successes, failures }],
            );
            if (fresh.counted) for (const of of sessions) sums.tls({ ...head, orgId: fresh.orgId }, of, 1);
            return keep(fresh, head, part, figures, contentHash, sessionsText(sessions));
          },
          abort() {},
        };
      }

      function writePolicy(fresh: Fresh, seq: number, result: TlsPolicyResult): void {
        const { policyType, policyDomain, successes, failures, policyTypeRaw, policyStrings, mxHosts } =
          result;
        const body = JSON.stringify({ policyTypeRaw, policyStrings, mxHosts });
        sql.insertPolicy.run(fresh.id, seq, policyType, policyDomain, successes, failures, body);
        for (const [i, d] of result.details.entries()) {
          sql.insertFailure.run(
            fresh.id,
            seq,
            i,
            d.resultType,
            d.sendingMtaIp,
            d.receivingMxHostname,
            d.receivingMxHelo,
            d.receivingIp,
            d.failedSessions,
            d.additionalInformation,
            d.failureReasonCode,
          );
        }
      }

      function whole(
        report: FeedbackReport | DsnReport,
        figures: ReportFigures,
        contentHash: string,
        part: PartInfo,
      ): Kept {
        if (report.kind === "dsn") dsns.push(report);
        const refusal = refusalOf(report.kind, intake);
        if (refusal) {
          refusals.add(refusal);
          return "refused";
        }
        const at = figures.begin ?? intake.hints.receivedAt;
        const domains = report.kind === "dsn" ? [] : report.reportedDomains;
        // these have no id of their own: the content is their identity
        const key = {
          org: figures.orgName ?? "",
          reportId: contentHash,
          domains,
          begin: at,
          end: figures.end ?? at,
        };
        const placed = place(report, key);
        if ("stored" in placed) return compare(placed.stored.content_hash, contentHash);
        if (report.kind === "dsn") {
          for (const [i, r] of report.recipients.entries()) {
            sql.insertRecipient.run(placed.fresh.id, i, r.finalRecipient, r.action, r.status, r.diagnostic);
          }
        }
        return keep(placed.fresh, report, part, figures, contentHash, null);
      }

      return { sink: { open, whole }, reportIds, dsns, refusals };
    },
  };
}

/** What the reports of one reporter about one domain have in common from day to day, as the text that is interned. */
function sharedHead(head: DmarcHead | TlsHead): {
  readonly body: string;
  readonly reportIdRaw: string | null;
} {
  const { reportId: _id, reportIdRaw, begin: _begin, end: _end, ...shared } = head;
  return { body: JSON.stringify(shared), reportIdRaw };
}
