/**
 * Stores the rows of large mails in short transactions, with a turn of the event loop after each, so that nothing waits
 * long for them. The rows become visible when the last transaction, which is that of the mail, writes the reports.
 */
import type { JudgedMail, JudgedReport } from "../../../model/counting.ts";
import { monthOf } from "./intern.ts";
import type { RowPieces } from "./record-writer.ts";
import { type ReportRows, rowsOf } from "./report-rows.ts";
import type { ReportArchive, StagedRows } from "./reports.ts";
import { type Staging, type Sweeper, turn } from "./staging.ts";
import type { ArchiveTransaction } from "./transaction.ts";

/** Rows of one transaction: 1,024 records with new source addresses take some 10 ms, besides the sync of the commit. */
const STEP_ROWS = 1024;
/** A mail with more rows is stored in steps. Below it, the sync of another commit costs more than a step saves. */
const LARGE_ROWS = 4 * STEP_ROWS;

/** A report itself costs about as much as this many rows: its row and index entries, names, sums, and its event. */
const REPORT_ROWS = 10;

/** Whether the reports of a mail are stored in steps. */
export function isLarge({ items }: JudgedMail): boolean {
  return (
    items.reduce((sum, item) => sum + (item.ok ? REPORT_ROWS + rowsOf(item.content) : 0), 0) > LARGE_ROWS
  );
}

export interface LargeMailParts {
  readonly reports: ReportArchive;
  readonly rows: ReportRows;
  readonly staging: Staging;
  readonly sweeper: Sweeper;
  readonly transaction: ArchiveTransaction;
}

/** What the rows of a mail depend on. */
export interface LargeMail {
  readonly content: JudgedMail;
  /** Undefined for a new mail. */
  readonly mailId: number | undefined;
  /** Epoch seconds. */
  readonly receivedAt: number;
}

export interface LargeMails {
  /**
   * Writes the rows of the reports that are new, and then runs `publish`, which stores the mail with them in a transaction.
   * Rows that no report has adopted by then are deleted, also after an error. Errors: those of the transactions.
   */
  store<T>(mail: LargeMail, publish: (staged: StagedRows) => T): Promise<T>;
  /** Resolves when none is being stored. */
  ended(): Promise<void>;
}

export function makeLargeMails(parts: LargeMailParts): LargeMails {
  const { reports, rows, staging, sweeper, transaction } = parts;

  function* piecesOf(
    { content, mailId, receivedAt }: LargeMail,
    staged: Map<JudgedReport, number>,
  ): RowPieces {
    for (const report of content.items) {
      if (!report.ok) continue;
      yield 1; // the look costs about as much as a row
      if (!reports.hasNewRows(report, mailId, receivedAt)) continue;
      const id = reports.nextId();
      sweeper.hold(id);
      staged.set(report, id);
      staging.note(id);
      yield* rows.pieces(id, report.content, monthOf(receivedAt));
    }
  }

  /** Writes about STEP_ROWS rows; false when all are written. */
  function step(pieces: RowPieces): boolean {
    for (let written = 0; written < STEP_ROWS; ) {
      const piece = pieces.next();
      if (piece.done) return false;
      written += piece.value;
    }
    return true;
  }

  async function store<T>(mail: LargeMail, publish: (staged: StagedRows) => T): Promise<T> {
    const staged = new Map<JudgedReport, number>();
    const pieces = piecesOf(mail, staged);
    try {
      while (transaction.run(() => step(pieces))) await turn();
      await turn();
      return publish(staged);
    } finally {
      sweeper.release(staged.values());
      sweeper.start();
    }
  }

  const running = new Set<Promise<unknown>>();
  return {
    store(mail, publish) {
      const storing = store(mail, publish);
      running.add(storing);
      return storing.finally(() => running.delete(storing));
    },
    async ended() {
      await Promise.allSettled(running);
    },
  };
}
