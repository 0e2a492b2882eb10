/** Output of the DMARC parser: head and records go to the sink, sums and the hash of the content are kept here. */
import { createHash, type Hash, hash } from "node:crypto";
import type { PartInfo, ReportSink, ReportWriter } from "../../model/reading.ts";
import type { DmarcHead, DmarcRecord, ReportFigures } from "../../model/report.ts";

const HASH_CHUNK = 32_768;

export class ReportOutput {
  readonly #head: DmarcHead;
  readonly #writer: ReportWriter;
  /** Begun when there are more identities than fit into one piece. */
  #hash: Hash | undefined;
  /** Identities that are not yet in the hash. */
  #identity: string;
  #records = 0;
  #messages = 0;
  #pass = 0;

  /** Opens the report at the sink. */
  constructor(head: DmarcHead, sink: ReportSink, part: PartInfo) {
    const { kind, orgName, reportId, begin, end, policy, errors } = head;
    this.#head = head;
    this.#identity = JSON.stringify([
      kind,
      orgName.toLowerCase(),
      reportId,
      begin,
      end,
      { ...policy, raw: null },
      errors,
    ]);
    this.#writer = sink.open(head, part);
  }

  record(record: DmarcRecord): void {
    const kept = record.headerFrom === "" ? { ...record, headerFrom: this.#head.policy.domain } : record;
    this.#records++;
    this.#messages += kept.count;
    if (kept.dkim === "pass" || kept.spf === "pass") this.#pass += kept.count;
    this.#identity += identityOf(kept);
    if (this.#identity.length > HASH_CHUNK) this.#hashIdentity();
    this.#writer.record(kept);
  }

  /** The report is complete. `rest`: its figures besides the sums. */
  close(rest: Pick<ReportFigures, "droppedRecords" | "warnings">): ReportFigures {
    const { kind, orgName, reportId, policy, begin, end } = this.#head;
    const figures: ReportFigures = {
      kind,
      orgName,
      reportId,
      policyDomain: policy.domain,
      begin,
      end,
      records: this.#records,
      messages: this.#messages,
      passMessages: this.#pass,
      ...rest,
    };
    const contentHash = this.#hash
      ? this.#hash.update(this.#identity).digest("hex")
      : hash("sha256", this.#identity, "hex");
    this.#writer.close(figures, contentHash);
    return figures;
  }

  /** Undoes all. */
  abort(): void {
    this.#writer.abort();
  }

  #hashIdentity(): void {
    this.#hash ??= createHash("sha256");
    this.#hash.update(this.#identity);
    this.#identity = "";
  }
}

/** A record in one line: equal for equal records, whatever the layout they came in. */
export function identityOf(record: DmarcRecord): string {
  const { sourceIp, count, disposition, dkim, spf, headerFrom, envelopeFrom, envelopeTo } = record;
  let line = `${sourceIp}|${count}|${disposition}|${dkim}|${spf}|${headerFrom}|${envelopeFrom}|${envelopeTo}`;
  for (const d of record.dkimResults) line += `|d ${d.domain} ${d.selector} ${d.result}`;
  for (const s of record.spfResults) line += `|s ${s.domain} ${s.scope} ${s.result}`;
  for (const r of record.reasons) line += `|r ${r.type} ${r.comment}`;
  return `${line}\n`;
}
