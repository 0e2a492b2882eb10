/** Answers questions about archive.db over a read-only connection: pages by key, no transaction is open between pages. */
import { packIp, readIp } from "../../../model/ip.ts";
import type { MessageAuth } from "../../../model/message-auth.ts";
import type { Outcome, Reason } from "../../../model/outcome.ts";
import type { ArchiveFilter, ArchiveReader, ReceivedMail } from "../../archive/reader.ts";
import { guarded, openDatabase } from "../open.ts";
import { expirable } from "./expiry/count.ts";
import { makeFigures } from "./figures.ts";
import { makeReportLists } from "./list-reports.ts";
import { readAuthMore } from "./mails.ts";
import { makeScan, type ScanIds } from "./scan.ts";
import { mailWhere } from "./select.ts";
import { makeAsk, numberOf } from "./statement-cache.ts";

interface MailRow {
  readonly id: number;
  readonly received_at: number;
  readonly source: string;
  readonly envelope_from: string | null;
  readonly envelope_to: string;
  readonly remote_ip: string | null;
  readonly header_from: string | null;
  readonly subject: string | null;
  readonly message_id: string | null;
  readonly file_name: string | null;
  readonly size: number;
  readonly state: string;
  readonly outcome: Outcome | null;
  readonly reason: Reason | null;
  readonly detail: string | null;
  readonly auth: MessageAuth["verdict"];
  readonly auth_domain: string | null;
  readonly auth_more: string | null;
  readonly reports: string | null;
  readonly raw_kept: number;
}

function authOf(more: string | null): Pick<ReceivedMail, "authBy" | "authDetail"> {
  const { by, detail } = readAuthMore(more);
  return { authBy: by, authDetail: detail };
}

/** Opens the archive at `path` for reading. Errors: `store.*`. */
export function openArchiveReader(path: string): ArchiveReader {
  const database = openDatabase(path, { readonly: true, cacheKiB: 32_768 });
  const ask = makeAsk(database);
  const { all, one } = ask;

  const domainId = (name: string | undefined): number | undefined =>
    name === undefined
      ? undefined
      : (one<{ id: number }>("SELECT id FROM domain WHERE name = ?", name.toLowerCase())?.id ?? -1);
  const sourceId = (ip: string | undefined): number | undefined => {
    if (ip === undefined) return undefined;
    const address = readIp(ip)?.ip;
    if (address === undefined) return -1;
    return one<{ id: number }>("SELECT id FROM source WHERE ip = ?", packIp(address))?.id ?? -1;
  };
  const orgIds = (org: string | undefined): number[] | undefined =>
    org === undefined
      ? undefined
      : all<{ id: number }>("SELECT id FROM org WHERE instr(key, ?) > 0 LIMIT 1000", org.toLowerCase()).map(
          (r) => r.id,
        );

  const toMail = (row: MailRow): ReceivedMail => ({
    id: `m${row.id}`,
    receivedAt: row.received_at,
    source: row.source,
    envelopeFrom: row.envelope_from,
    envelopeTo: JSON.parse(row.envelope_to) as string[],
    remoteIp: row.remote_ip,
    from: row.header_from,
    subject: row.subject,
    messageId: row.message_id,
    fileName: row.file_name,
    size: row.size,
    outcome: row.outcome ?? "spooled",
    reason: row.reason,
    detail: row.detail,
    auth: row.auth,
    authDomain: row.auth_domain,
    ...authOf(row.auth_more),
    reports: row.reports === null ? [] : row.reports.split(",").map((id) => `r${id}`),
    rawKept: row.raw_kept === 1,
  });

  const MAIL = `SELECT mail.*, (SELECT group_concat(id) FROM report WHERE mail_id = mail.id) AS reports,
    EXISTS (SELECT 1 FROM raw WHERE mail_id = mail.id) AS raw_kept FROM mail`;

  const scan = makeScan(database);
  const lists = makeReportLists(ask, domainId);
  const figures = makeFigures(ask);
  const idsOf = (filter: ArchiveFilter): ScanIds => ({
    domainId: domainId(filter.domain),
    sourceId: sourceId(filter.source),
    orgIds: orgIds(filter.org),
  });

  return {
    async received(filter, page) {
      const { sql, values } = mailWhere(filter, domainId(filter.domain));
      const before = page.after === undefined ? Number.MAX_SAFE_INTEGER : (numberOf(page.after, "m") ?? 0);
      const rows = all<MailRow>(
        `${MAIL} WHERE ${sql} AND mail.id < ? ORDER BY mail.id DESC LIMIT ?`,
        ...values,
        before,
        page.limit + 1,
      );
      const items = rows.slice(0, page.limit).map(toMail);
      return { items, next: rows.length > page.limit ? items.at(-1)!.id : null };
    },
    async receivedMail(id) {
      const row = one<MailRow>(`${MAIL} WHERE mail.id = ?`, numberOf(id, "m") ?? -1);
      return row && toMail(row);
    },
    async rawMail(id) {
      return one<{ body: Buffer }>("SELECT body FROM raw WHERE mail_id = ?", numberOf(id, "m") ?? -1)?.body;
    },
    reports: async (filter, page) => lists.reports(filter, page),
    report: async (id) => lists.report(id),
    tlsPolicies: async (reportId) => lists.tlsPolicies(reportId),
    tls: async (filter, page) => lists.tls(filter, page),
    feedback: async (filter, page) => lists.feedback(filter, page),
    deliveries: async (filter, page) => lists.deliveries(filter, page),
    async records(filter, page) {
      const ids = idsOf(filter);
      return guarded(
        () =>
          filter.reportId === undefined
            ? scan.records(filter, ids, page)
            : scan.recordsOf(numberOf(filter.reportId, "r") ?? -1, filter, ids, page),
        "archive",
      );
    },
    domains: async (filter) => figures.domains(filter, idsOf(filter)),
    async sources(filter, limit) {
      return guarded(() => scan.sources(filter, idsOf(filter), limit), "archive");
    },
    reporters: async (filter) => figures.reporters(filter, idsOf(filter)),
    days: async (filter) => figures.days(filter, idsOf(filter)),
    async stats() {
      const counters = Object.fromEntries(
        all<{ name: string; value: number }>("SELECT name, value FROM counter").map(({ name, value }) => [
          name,
          value,
        ]),
      );
      // the counter has its older name in the database
      return { ...counters, "archive.unparsed": counters["archive.unread"] ?? 0 };
    },
    async expirable(now, policy) {
      return guarded(() => expirable(database, now, policy), "archive");
    },
    async size() {
      const pragma = (name: string): number => Number(database.pragma(name, { simple: true }));
      const raw = one<{ mails: number; bytes: number }>(
        "SELECT count(*) AS mails, coalesce(sum(length(body)), 0) AS bytes FROM raw",
      )!;
      return {
        page_size: pragma("page_size"),
        pages: pragma("page_count"),
        free_pages: pragma("freelist_count"),
        raw_mails: raw.mails,
        raw_bytes: raw.bytes,
      };
    },
    async close() {
      database.close();
    },
  };
}
