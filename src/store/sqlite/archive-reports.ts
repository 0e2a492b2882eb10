/** Writes the reports of one mail as they are read: a savepoint each, record by record, nothing held in memory. */

import { isWithin } from "../../model/domain-name.ts";
import { DAY, packEvaluation } from "../../model/figures.ts";
import type { Kept, PartInfo, ReportSink, ReportWriter } from "../../model/reading.ts";
import type {
  DmarcHead,
  DmarcRecord,
  DsnReport,
  FeedbackReport,
  ReportFigures,
  ReportKind,
  TlsHead,
  TlsPolicyResult,
} from "../../model/report.ts";
import type { Intake, ReceivePolicy } from "../archive.ts";
import type { Interner } from "./archive-intern.ts";
import { prepareReportStatements, type ReportStatements } from "./archive-statements.ts";
import type { Evaluations, Sums } from "./archive-sums.ts";
import type { Sqlite } from "./open.ts";

/** Why a report was not taken, though it could be read. */
export type Refusal = "unauthenticated" | "wrong-kind";

/** What the reports of one mail came to. */
export interface MailReports {
  readonly sink: ReportSink;
  readonly reportIds: number[];
  readonly dsns: DsnReport[];
  readonly refusals: Set<Refusal>;
}

/** A report's place in the archive, found or made when its head is known. */
interface Opened {
  readonly id: number;
  readonly orgId: number;
  readonly domainId: number | null;
  readonly counted: boolean;
}

/** Everything that stays the same from mail to mail. */
export interface ReportArchive {
  /** A sink for one mail. */
  of(mailId: number, intake: Omit<Intake, "raw">): MailReports;
  /** Deletes a report with all that belongs to it, and takes it back from the sums. */
  remove(reportId: number): boolean;
  setPolicy(policy: ReceivePolicy): void;
}

const CARRIED = new Set(["smtp", "lmtp", "imap"]);

export function makeReportArchive(
  database: Sqlite,
  intern: Interner,
  sums: Sums,
  first: ReceivePolicy,
): ReportArchive {
  const sql = prepareReportStatements(database);
  let policy = first;

  function refusalOf(kind: ReportKind, intake: Omit<Intake, "raw">): Refusal | undefined {
    if (intake.kinds.length > 0 && !intake.kinds.includes(kind)) return "wrong-kind";
    if (policy.requireAuth[kind] !== "reject" || !CARRIED.has(intake.source)) return undefined;
    return intake.auth.verdict === "pass" ? undefined : "unauthenticated";
  }

  function isForeign(domains: readonly string[]): boolean {
    if (policy.domains.length === 0 || domains.length === 0) return false;
    return !domains.some((domain) => policy.domains.some((ours) => isWithin(domain, ours)));
  }

  /** RFC 8460 3: a TLS report without a valid DKIM signature of the reporting domain does not count. */
  function isTrusted(kind: ReportKind, intake: Omit<Intake, "raw">): boolean {
    if (!policy.verifies || !CARRIED.has(intake.source) || policy.requireAuth[kind] === "off") return true;
    if (kind === "tls") return intake.auth.dkimDomains.length > 0;
    return policy.countUnverified || intake.auth.verdict === "pass";
  }

  function remove(reportId: number): boolean {
    const row = sql.reportRow.get(reportId);
    if (!row) return false;
    if (row.counted === 1) takeBack(row);
    else sums.count(`archive.uncounted.${row.kind}`, -1);
    sums.count(`archive.report.${row.kind}`, -1);
    sql.deleteRecords(row);
    sql.deleteRest(reportId);
    return true;
  }

  function takeBack(row: ReturnType<ReportStatements["reportRow"]["get"]> & object): void {
    const at = { domainId: row.domain_id ?? 0, orgId: row.org_id, begin: row.begin, end: row.end };
    if (row.kind === "dmarc" && row.records_kept === 1) {
      sums.dmarc(at, sql.evaluationsOf(row), row.records, -1);
    } else if (row.kind === "tls") {
      for (const policyRow of sql.tlsSumsOf(row.id)) {
        if (policyRow.domain === null) continue;
        sums.tls(at, intern.domain(policyRow.domain), policyRow.successes, policyRow.failures, -1);
      }
    }
  }

  return {
    remove,
    setPolicy(next) {
      policy = next;
    },
    of(mailId, intake) {
      const reportIds: number[] = [];
      const dsns: DsnReport[] = [];
      const refusals = new Set<Refusal>();

      /** Makes the report's row, or tells the stored one with the same key. */
      function begin(
        head: DmarcHead | TlsHead | FeedbackReport | DsnReport,
        key: { org: string; reportId: string; domains: readonly string[]; begin: number; end: number },
        part: PartInfo,
      ): Opened | { readonly stored: { readonly id: number; readonly content_hash: Buffer } } {
        const orgId = intern.org(key.org);
        const domains = key.domains.join(",");
        const stored = sql.byKey.get(key.reportId, orgId, head.kind, domains, key.begin, key.end);
        const better = stored && stored.auth !== "pass" && intake.auth.verdict === "pass" && policy.verifies;
        if (stored && !better) return { stored };
        if (stored) remove(stored.id); // a verified report replaces one that anybody could have sent
        const foreign = isForeign(key.domains);
        const counted = !foreign && isTrusted(head.kind, intake);
        const domainId = key.domains[0] === undefined ? null : intern.domain(key.domains[0]);
        const id = Number(
          sql.insertReport.run({
            mailId,
            kind: head.kind,
            orgId,
            reportId: key.reportId,
            domainId,
            domains,
            begin: key.begin,
            end: key.end,
            counted: counted ? 1 : 0,
            foreign: foreign ? 1 : 0,
            auth: intake.auth.verdict,
            authDomain: intake.auth.domain,
            receivedAt: intake.hints.receivedAt,
            head: JSON.stringify(head),
            partName: part.name,
          }).lastInsertRowid,
        );
        return { id, orgId, domainId, counted };
      }

      function finish(opened: Opened, figures: ReportFigures, contentHash: string): void {
        sql.finishReport.run({
          id: opened.id,
          hash: Buffer.from(contentHash, "hex"),
          records: figures.records,
          messages: figures.messages,
          pass: figures.passMessages,
          dropped: figures.droppedRecords,
        });
        for (const warning of figures.warnings) {
          sql.insertWarning.run(opened.id, warning.code, warning.count, warning.detail);
        }
        sums.count(`archive.report.${figures.kind}`, 1);
        if (opened.counted) return;
        sums.count(`archive.uncounted.${figures.kind}`, 1);
      }

      const compare = (stored: Buffer, contentHash: string): Kept =>
        stored.toString("hex") === contentHash ? "duplicate" : "conflict";

      function passedBy(close: (contentHash: string) => Kept): ReportWriter {
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
          return passedBy(() => "refused");
        }
        return head.kind === "dmarc" ? openDmarc(head, part) : openTls(head, part);
      }

      function openDmarc(head: DmarcHead, part: PartInfo): ReportWriter {
        sql.savepoint.run();
        const mark = sums.mark();
        const key = { ...head, org: head.orgName, domains: [head.policy.domain] };
        const opened = begin(head, key, part);
        if ("stored" in opened) {
          sql.release.run();
          const { stored } = opened;
          return passedBy((contentHash) => compare(stored.content_hash, contentHash));
        }
        const domainId = opened.domainId!;
        const day = Math.floor(head.begin / DAY) * DAY;
        const evaluations: Evaluations = new Map();
        let seq = 0;
        return {
          record(record) {
            const ev = packEvaluation(record);
            evaluations.set(ev, (evaluations.get(ev) ?? 0) + record.count);
            sql.insertRecord.run(
              domainId,
              day,
              opened.id,
              seq++,
              intern.source(record.sourceIp),
              intern.authset(authsetOf(record)),
              ev,
              record.count,
              extraOf(record),
            );
          },
          policy() {},
          close(figures, contentHash) {
            finish(opened, figures, contentHash);
            if (opened.counted) {
              sums.dmarc({ ...head, domainId, orgId: opened.orgId }, evaluations, figures.records, 1);
            }
            sql.release.run();
            reportIds.push(opened.id);
            return "new";
          },
          abort() {
            sql.rollback.run();
            sql.release.run();
            sums.restore(mark);
            intern.clear();
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
            const opened = begin(head, { ...head, org: head.orgName, domains }, part);
            if ("stored" in opened) return compare(opened.stored.content_hash, contentHash);
            for (const [i, result] of policies.entries()) writePolicy(opened, head, i, result);
            finish(opened, figures, contentHash);
            reportIds.push(opened.id);
            return "new";
          },
          abort() {},
        };
      }

      function writePolicy(opened: Opened, head: TlsHead, seq: number, result: TlsPolicyResult): void {
        const { policyType, policyDomain, successes, failures, policyTypeRaw, policyStrings, mxHosts } =
          result;
        const body = JSON.stringify({ policyTypeRaw, policyStrings, mxHosts });
        sql.insertPolicy.run(opened.id, seq, policyType, policyDomain, successes, failures, body);
        for (const [i, d] of result.details.entries()) {
          sql.insertFailure.run(
            opened.id,
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
        if (opened.counted && policyDomain !== null) {
          sums.tls({ ...head, orgId: opened.orgId }, intern.domain(policyDomain), successes, failures, 1);
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
        const opened = begin(report, key, part);
        if ("stored" in opened) return compare(opened.stored.content_hash, contentHash);
        if (report.kind === "dsn") {
          for (const [i, r] of report.recipients.entries()) {
            sql.insertRecipient.run(opened.id, i, r.finalRecipient, r.action, r.status, r.diagnostic);
          }
        }
        finish(opened, figures, contentHash);
        reportIds.push(opened.id);
        return "new";
      }

      return { sink: { open, whole }, reportIds, dsns, refusals };
    },
  };
}

/** The part of a record that recurs: identifiers and authentication results. */
function authsetOf(record: DmarcRecord): string {
  return JSON.stringify([
    record.headerFrom,
    record.envelopeFrom,
    record.envelopeTo,
    record.dkimResults,
    record.spfResults,
  ]);
}

function extraOf(record: DmarcRecord): string | null {
  if (record.reasons.length === 0 && record.raw === null && record.extensions === null) return null;
  return JSON.stringify({
    ...(record.reasons.length > 0 ? { reasons: record.reasons } : {}),
    ...(record.raw === null ? {} : { raw: record.raw }),
    ...(record.extensions === null ? {} : { extensions: record.extensions }),
  });
}
