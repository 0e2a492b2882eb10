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
