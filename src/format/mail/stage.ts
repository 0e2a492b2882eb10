/** Parses a mail into its staged parse result, which the archive stores. */
import type { IngestLimits } from "../../config/schema.ts";
import { RecordPacker } from "../../model/packed-records.ts";
import type { FailedItem, ReadHints, ReportSink, ReportWriter } from "../../model/reading.ts";
import type { DmarcHead, TlsHead, TlsPolicyResult } from "../../model/report.ts";
import type { StagedMail, StagedReport } from "../../model/staged.ts";
import { ReadStop } from "../context.ts";
import { readMail } from "./read.ts";

/** The part of the memory of the ingest process that the result of one mail may take. */
const MEMORY_SHARE = 4;

/**
 * Parses one mail or file. Does not throw for any input.
 * @param monotonic milliseconds, for the deadline `read_timeout`
 */
export function stageMail(
  raw: Uint8Array,
  hints: ReadHints,
  limits: IngestLimits,
  monotonic: () => number,
): StagedMail {
  const stage = new Stage(Math.floor(limits.ingest_memory / MEMORY_SHARE));
  const reading = readMail(raw, hints, limits, monotonic, stage.sink);
  let at = 0;
  const items = reading.items.map((item): StagedReport | FailedItem =>
    item.ok ? { ...item, ...stage.reports[at++]! } : item,
  );
  return { ...reading, items };
}

/** Bytes of a mail that `stageSmall` looks at. */
export const SMALL_MAIL = 262_144;
/** Decompressed bytes of such a mail: some 800 records, which are parsed in 5 ms. */
const SMALL_CONTENT = 524_288;

/**
 * Parses a mail that is little work, by the same limits; undefined: it is more work than a thread that others wait for should
 * do. Bounded in bytes and not in time, so that the answer does not depend on the load of the machine.
 */
export function stageSmall(
  raw: Uint8Array,
  hints: ReadHints,
  limits: IngestLimits,
  monotonic: () => number,
): StagedMail | undefined {
  if (raw.byteLength > SMALL_MAIL) return undefined;
  const decompressed_size = Math.min(limits.decompressed_size, SMALL_CONTENT);
  const staged = stageMail(raw, hints, { ...limits, decompressed_size }, monotonic);
  if (decompressed_size === limits.decompressed_size) return staged;
  const isCut = staged.reason === "too-large" || staged.items.some((i) => !i.ok && i.reason === "too-large");
  return isCut ? undefined : staged;
}

/** Collects the reports of one mail, in the order in which the parser completes them. */
class Stage {
  readonly #most: number;
  readonly reports: Pick<StagedReport, "contentHash" | "content">[] = [];
  readonly sink: ReportSink = {
    open: (head) => (head.kind === "dmarc" ? this.#dmarc(head) : this.#tls(head)),
    whole: (report, _figures, contentHash) => {
      const content =
        report.kind === "dsn"
          ? ({ kind: "dsn", head: report } as const)
          : ({ kind: report.kind, head: report } as const);
      this.reports.push({ contentHash, content });
    },
  };
  /** Bytes of the records of complete reports. */
  #bytes = 0;

  /** @param most bytes of all records */
  constructor(most: number) {
    this.#most = most;
  }

  #dmarc(head: DmarcHead): ReportWriter {
    const packer = new RecordPacker();
    return {
      record: (record) => {
        packer.add(record);
        if (this.#bytes + packer.bytes > this.#most)
          throw new ReadStop("too-large", `more than ${this.#most} bytes of records`);
      },
      policy() {},
      close: (_figures, contentHash) => {
        this.#bytes += packer.bytes;
        this.reports.push({ contentHash, content: { kind: "dmarc", head, records: packer.take() } });
      },
      abort() {},
    };
  }

  #tls(head: TlsHead): ReportWriter {
    const policies: TlsPolicyResult[] = [];
    return {
      record() {},
      policy: (policy) => policies.push(policy),
      close: (_figures, contentHash) => {
        this.reports.push({ contentHash, content: { kind: "tls", head, policies } });
      },
      abort() {},
    };
  }
}
