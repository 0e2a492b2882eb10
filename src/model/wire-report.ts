/** One report in the answers of `check` and `import`: an interface that stays. */
import type { ItemReading } from "./reading.ts";
import type { ReportFigures } from "./report.ts";

export interface WireReport {
  readonly kind: string;
  readonly org_name: string | null;
  readonly report_id: string | null;
  readonly policy_domain: string | null;
  /** Epoch seconds. */
  readonly begin: number | null;
  readonly end: number | null;
  readonly records: number;
  readonly messages: number;
  readonly pass_messages: number | null;
  readonly warnings: readonly string[];
}

export interface WireFile {
  readonly file: string;
  /** Number or name inside a collection. */
  readonly member?: string;
  readonly outcome: string;
  readonly reason: string | null;
  readonly reports: readonly WireReport[];
}

export function wireReport(figures: ReportFigures): WireReport {
  return {
    kind: figures.kind,
    org_name: figures.orgName,
    report_id: figures.reportId,
    policy_domain: figures.policyDomain,
    begin: figures.begin,
    end: figures.end,
    records: figures.records,
    messages: figures.messages,
    pass_messages: figures.passMessages,
    warnings: figures.warnings.map((w) => w.code),
  };
}

/** The reports of a reading that could be read, in order. */
export function wireReports(items: readonly ItemReading[]): WireReport[] {
  return items.flatMap((item) => (item.ok ? [wireReport(item.figures)] : []));
}
