/** An event for each report of a mail, and a log line for a bug that stopped its parser. */
import { MailreportError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log/log.ts";
import { failureOf, logFailure } from "../../lib/supervised.ts";
import type { DaemonEventSink } from "../../model/events.ts";
import type { ItemResult } from "../../model/reading.ts";
import type { IntakeResult } from "../../store/archive/intake.ts";

/** Events of one turn of the event loop: some 4 ms. */
const SLICE = 100;

export interface ReportLogOptions {
  readonly log: Log;
  readonly events: DaemonEventSink;
}

/** Gives the events of stored mails. Those of a mail with many reports come in slices, with other work in between. */
export class ReportLog {
  readonly #options: ReportLogOptions;
  readonly #running = new Set<Promise<void>>();

  constructor(options: ReportLogOptions) {
    this.#options = options;
  }

  /** The first slice is given at once. A failure is logged as one of `unit`: the mail is stored all the same. */
  add(unit: string, result: IntakeResult): void {
    const { log, events } = this.#options;
    const fields = { mail: `m${result.mailId}` };
    logBug(log, result);
    const slices = eventSlices(events, result);
    const next = (): boolean => {
      try {
        return slices.next().done !== true;
      } catch (error) {
        logFailure({ log, unit, fields }, failureOf(error));
        return false;
      }
    };
    if (next()) this.#goOn(next);
  }

  /** Resolves when all events have been given. */
  async ended(): Promise<void> {
    await Promise.all(this.#running);
  }

  #goOn(next: () => boolean): void {
    const rest = (async () => {
      do await new Promise((resolve) => setImmediate(resolve));
      while (next());
    })().finally(() => this.#running.delete(rest));
    this.#running.add(rest);
  }
}

function logBug(log: Log, { mailId, detail, stack }: IntakeResult): void {
  if (stack === undefined) return;
  const cause = Object.assign(new Error(detail ?? ""), { stack });
  const error = new MailreportError("daemon.bug", { detail: detail ?? "", cause });
  logFailure({ log, unit: "parse", fields: { mail: `m${mailId}` } }, { error, bug: true });
}

/** Gives the events of a mail; yields where other work may be done. */
function* eventSlices(events: DaemonEventSink, { mailId, items, reportIds }: IntakeResult): Generator<void> {
  const ids = reportIds.values();
  for (const [n, item] of items.entries()) {
    if (n > 0 && n % SLICE === 0) yield;
    const id = item.ok && item.kept === "new" ? ids.next().value : undefined;
    emit(events, `m${mailId}`, item, id);
  }
}

/** @param id of the report, when it was stored */
function emit(events: DaemonEventSink, mail: string, item: ItemResult, id: number | undefined): void {
  if (!item.ok) {
    events.emit("report.invalid", { mail, kind: item.kind, reason: item.reason, detail: item.detail });
    return;
  }
  const { kind, orgName, reportId, policyDomain, records, messages } = item.figures;
  const fields = { mail, kind, org: orgName, report_id: reportId, domain: policyDomain };
  if (item.kept === "new") {
    events.emit("report.stored", { id: `r${id}`, ...fields, records, messages });
  } else if (item.kept !== "refused") {
    events.emit("report.duplicate", { ...fields, conflict: item.kept === "conflict" });
  }
}
