/** Scans packed records: SQL selects the reports, their blocks are decoded here. */
import { isUnknown, unpackEvaluation } from "../../../model/figures.ts";
import { unpackIp } from "../../../model/ip.ts";
import { rowReader } from "../../../model/lists/field.ts";
import type { ArchiveRow } from "../../../model/lists/lists.ts";
import { DKIM_RESULT, SPF_RESULT } from "../../../model/lists/records.ts";
import { type RecordExtra, readAuthset } from "../../../model/packed-records.ts";
import type { ArchiveFilter, ArchivePage, ArchivePaged } from "../../archive/reader.ts";
import type { Sqlite } from "../open.ts";
import { type CancelCheck, checkedBy } from "./cancel.ts";
import { BLOCKS_PER_REPORT, BlockCursor } from "./records.ts";
import { evaluationsOf, reportsIn, type Where } from "./select.ts";

type RecordRow = ArchiveRow<"records">;
type SourceRow = ArchiveRow<"sources">;

/** Ids of what the filter names; undefined = any. */
export interface ScanIds {
  readonly domainId: number | undefined;
  readonly sourceId: number | undefined;
  readonly orgIds: readonly number[] | undefined;
}

const toDkim = rowReader(DKIM_RESULT);
const toSpf = rowReader(SPF_RESULT);

const REPORTS_AT_ONCE = 500;
/** Records scanned for one page, and the rest of their report: a rare one among millions does not delay other questions. */
const SCANNED_PER_PAGE = 200_000;

interface BlockRow {
  readonly id: number;
  readonly body: Buffer;
  readonly extra: string | null;
}

interface ReportRow {
  readonly id: number;
  readonly begin: number;
  readonly end: number;
}

/** What all records of a report have in common. */
interface About {
  readonly org: string;
  readonly domain: string;
  readonly auth: RecordRow["auth"];
  readonly counted: number;
}

/** The part of a filter that the window's indexes answer: the domain, and whether uncounted reports are included. */
function termOf({ domainId, orgIds }: ScanIds, all: boolean): Where {
  const terms: string[] = [];
  if (!all) terms.push("report.counted = 1");
  if (domainId !== undefined) terms.push(`report.domain_id = ${Number(domainId)}`);
  if (orgIds) terms.push(`report.org_id IN (${orgIds.map(Number).join(", ")})`);
  terms.push(checkedBy("report.id"));
  return { sql: terms.join(" AND "), values: [] };
}

/** Whether a packed evaluation is asked for. */
function wanted(result: ArchiveFilter["result"]): Uint8Array {
  const asked = evaluationsOf(result);
  const table = new Uint8Array(128).fill(asked ? 0 : 1);
  for (const ev of asked ?? []) table[ev] = 1;
  return table;
}

export interface Scan {
  /** Sums by source of the reports that are in the figures, most messages first. */
  sources(filter: ArchiveFilter, ids: ScanIds, limit: number): SourceRow[];
  /** Records in the order of their reports' begin; `after` is the `next` of an earlier page. A page may be short. */
  records(filter: ArchiveFilter, ids: ScanIds, page: ArchivePage): ArchivePaged<RecordRow>;
  /** Records of one report. */
  recordsOf(
    reportId: number,
    filter: ArchiveFilter,
    ids: ScanIds,
    page: ArchivePage,
  ): ArchivePaged<RecordRow>;
}

/** @param check is called before each block of records */
export function makeScan(database: Sqlite, check: CancelCheck): Scan {
  const blocks = database.prepare<[number, number], BlockRow>(
    "SELECT id, body, extra FROM record_block WHERE id >= ? AND id < ? ORDER BY id",
  );
  const ipOf = database.prepare<[number], Buffer>("SELECT ip FROM source WHERE id = ?").pluck();
  const authset = database.prepare<[number], string>("SELECT body FROM authset WHERE id = ?").pluck();
  const about = database.prepare<[number], About>(
    `SELECT org.name AS org, domain.name AS domain, auth, counted FROM report JOIN org ON org.id = org_id
       JOIN domain ON domain.id = domain_id WHERE report.id = ?`,
  );
  const cursor = new BlockCursor();

  return {
    sources(filter, ids, limit) {
      const sums = new SourceSums(wanted(filter.result), ids.sourceId);
      const reports = reportsIn(
        filter,
        ["id", "begin", "end", "domain_id"],
        termOf(ids, filter.all ?? false),
      );
      const found = database.prepare<
        unknown[],
        { body: Buffer; begin: number; end: number; domain_id: number }
      >(
        `SELECT record_block.body, report."begin", report."end", report.domain_id FROM ${reports.sql} AS report
         CROSS JOIN record_block
           ON record_block.id >= report.id * ${BLOCKS_PER_REPORT} AND record_block.id < (report.id + 1) * ${BLOCKS_PER_REPORT}`,
      );
      for (const { body, begin, end, domain_id } of found.iterate(...reports.values)) {
        check();
        cursor.open(body);
        sums.add(cursor, domain_id, begin, end);
      }
      return sums
        .top(limit)
        .map(({ sourceId, ...sum }) => ({ source: unpackIp(ipOf.get(sourceId)!), ...sum }));
    },

    records(filter, ids, page) {
      const [begin = -1, id = -1, seq = -1] = (page.after ?? "").split(".").filter(Boolean).map(Number);
      const within = reportsIn(filter, ["id", "begin", "end"], termOf(ids, true));
      const reports = database.prepare<unknown[], ReportRow>(
        `SELECT id, "begin", "end" FROM ${within.sql} AS report WHERE ("begin", id) >= (?, ?)
         ORDER BY "begin", id LIMIT ${REPORTS_AT_ONCE}`,
      );
      const collected = new Collector(page.limit, SCANNED_PER_PAGE);
      for (let from = [begin, id]; ; ) {
        const found = reports.all(...within.values, ...from);
        for (const report of found) {
          const after = report.begin === begin && report.id === id ? seq : -1;
          if (!take(report, filter, ids, after, `${report.begin}.${report.id}`, collected))
            return collected.page();
        }
        const last = found.at(-1);
        if (!last || found.length < REPORTS_AT_ONCE) return collected.page();
        from = [last.begin, last.id + 1];
      }
    },

    recordsOf(reportId, filter, ids, page) {
      const report = database
        .prepare<[number], ReportRow>(`SELECT id, "begin", "end" FROM report WHERE id = ?`)
        .get(reportId);
      const collected = new Collector(page.limit, SCANNED_PER_PAGE);
      const after = page.after === undefined ? -1 : Number(page.after.split(".").at(-1));
      if (report) take(report, filter, ids, after, "r", collected);
      return collected.page();
    },
  };

  /** Collects the records of a report behind `after`; false when the page is full. */
  function take(
    report: ReportRow,
    filter: ArchiveFilter,
    { sourceId }: ScanIds,
    after: number,
    key: string,
    collected: Collector,
  ): boolean {
    const asked = wanted(filter.result);
    let seq = -1;
    let names: About | undefined;
    for (const block of blocks.all(report.id * BLOCKS_PER_REPORT, (report.id + 1) * BLOCKS_PER_REPORT)) {
      check();
      let extras: Record<string, RecordExtra> | undefined;
      cursor.open(block.body);
      while (cursor.next()) {
        seq++;
        if (seq <= after || asked[cursor.evaluation] !== 1) continue;
        if (sourceId !== undefined && cursor.sourceId !== sourceId) continue;
        if (collected.isFull) return false;
        extras ??= JSON.parse(block.extra ?? "{}") as Record<string, RecordExtra>;
        names ??= about.get(report.id)!;
        collected.add(toRecord(report, names, extras[cursor.place]), `${key}.${seq}`);
      }
    }
    return collected.scanned(Math.max(0, seq - after), `${key}.${seq}`);
  }

  function toRecord(
    { id, begin, end }: ReportRow,
    { org, domain, auth, counted }: About,
    extra: RecordExtra | undefined,
  ): RecordRow {
    const { headerFrom, envelopeFrom, envelopeTo, dkimResults, spfResults } = readAuthset(
      authset.get(cursor.authsetId)!,
    );
    const { disposition, dkim, spf } = unpackEvaluation(cursor.evaluation);
    return {
      report: `r${id}`,
      auth,
      counted: counted === 1,
      org_name: org,
      policy_domain: domain,
      begin,
      end,
      source_ip: unpackIp(ipOf.get(cursor.sourceId)!),
      count: cursor.count,
      disposition,
      dkim,
      spf,
      reasons: extra?.reasons ?? [],
      header_from: headerFrom,
      envelope_from: envelopeFrom,
      envelope_to: envelopeTo,
      dkim_results: dkimResults.map(toDkim),
      spf_results: spfResults.map(toSpf),
      extensions: extra?.extensions ?? null,
      raw: extra?.raw ?? null,
    };
  }
}

/** One page of records, and where the next one begins. */
class Collector {
  readonly #limit: number;
  readonly #items: RecordRow[] = [];
  #budget: number;
  #last: string | null = null;
  #more = false;

  constructor(limit: number, budget: number) {
    this.#limit = limit;
    this.#budget = budget;
  }

  /** True when one more record would not fit: there is a next page. */
  get isFull(): boolean {
    this.#more ||= this.#items.length >= this.#limit;
    return this.#more;
  }

  add(record: RecordRow, place: string): void {
    this.#items.push(record);
    this.#last = place;
  }

  /** A report was scanned: this number of records, all behind the cursor, up to `place`; false when the page ends here. */
  scanned(records: number, place: string): boolean {
    this.#budget -= records;
    if (this.#budget > 0) return true;
    this.#last = place;
    this.#more = true;
    return false;
  }

  page(): ArchivePaged<RecordRow> {
    return { items: this.#items, next: this.#more ? this.#last : null };
  }
}

type SourceSum = Omit<SourceRow, "source"> & { readonly sourceId: number };

/** Columns of a source's sums. */
const COLUMN = {
  messages: 0,
  pass: 1,
  dkim_pass: 2,
  spf_pass: 3,
  none: 4,
  quarantine: 5,
  reject: 6,
  first: 7,
  last: 8,
  unknown: 9,
};
const COLUMNS = 10;
/** By packed evaluation: 1 = unknown. */
const UNKNOWN = Uint8Array.from({ length: 128 }, (_, ev) => Number(isUnknown(ev)));

/** Sums by source: one row of numbers each, in one growing array. */
class SourceSums {
  readonly #asked: Uint8Array;
  readonly #only: number | undefined;
  readonly #rows = new Map<number, number>();
  #table = new Float64Array(1024 * COLUMNS);
  readonly #domains: (number | Set<number>)[] = [];

  constructor(asked: Uint8Array, only: number | undefined) {
    this.#asked = asked;
    this.#only = only;
  }

  /** Adds the records of a block. */
  add(cursor: BlockCursor, domainId: number, begin: number, end: number): void {
    while (cursor.next()) {
      const ev = cursor.evaluation;
      if (this.#asked[ev] !== 1 || (this.#only !== undefined && cursor.sourceId !== this.#only)) continue;
      const row = this.#row(cursor.sourceId, domainId);
      const at = row * COLUMNS;
      const table = this.#table;
      const n = cursor.count;
      table[at]! += n;
      const dkim = ((ev >> 2) & 3) === 1;
      const spf = (ev & 3) === 1;
      if (dkim || spf) table[at + COLUMN.pass]! += n;
      else if (UNKNOWN[ev] === 1) table[at + COLUMN.unknown]! += n;
      if (dkim) table[at + COLUMN.dkim_pass]! += n;
      if (spf) table[at + COLUMN.spf_pass]! += n;
      const disposition = ev >> 4;
      if (disposition <= 1) table[at + COLUMN.none]! += n;
      else if (disposition === 2) table[at + COLUMN.quarantine]! += n;
      else if (disposition === 3) table[at + COLUMN.reject]! += n;
      if (begin < table[at + COLUMN.first]!) table[at + COLUMN.first] = begin;
      if (end > table[at + COLUMN.last]!) table[at + COLUMN.last] = end;
    }
  }

  #row(sourceId: number, domainId: number): number {
    let row = this.#rows.get(sourceId);
    if (row === undefined) {
      row = this.#rows.size;
      this.#rows.set(sourceId, row);
      this.#domains.push(domainId);
      if ((row + 1) * COLUMNS > this.#table.length) {
        const larger = new Float64Array(this.#table.length * 2);
        larger.set(this.#table);
        this.#table = larger;
      }
      this.#table[row * COLUMNS + COLUMN.first] = Number.MAX_SAFE_INTEGER;
      return row;
    }
    const known = this.#domains[row]!;
    if (known !== domainId) {
      if (typeof known === "number") this.#domains[row] = new Set([known, domainId]);
      else known.add(domainId);
    }
    return row;
  }

  /** The largest, most messages first. */
  top(limit: number): SourceSum[] {
    const messages = (row: number): number => this.#table[row * COLUMNS]!;
    return [...this.#rows]
      .sort(([a, rowA], [b, rowB]) => messages(rowB) - messages(rowA) || a - b)
      .slice(0, limit)
      .map(([sourceId, row]) => this.#sum(sourceId, row));
  }

  #sum(sourceId: number, row: number): SourceSum {
    const of = (name: keyof typeof COLUMN): number => this.#table[row * COLUMNS + COLUMN[name]]!;
    const domains = this.#domains[row]!;
    return {
      sourceId,
      messages: of("messages"),
      pass: of("pass"),
      dkim_pass: of("dkim_pass"),
      spf_pass: of("spf_pass"),
      fail: of("messages") - of("pass") - of("unknown"),
      unknown: of("unknown"),
      none: of("none"),
      quarantine: of("quarantine"),
      reject: of("reject"),
      first: of("first"),
      last: of("last"),
      domains: typeof domains === "number" ? 1 : domains.size,
    };
  }
}
