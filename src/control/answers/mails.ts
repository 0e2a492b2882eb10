/** Answers of import, reparse and feed. */
import { z } from "zod";
import { COUNT, COUNTS, ERROR_LINE, listOf, SKIPPED } from "./common.ts";

const TEXT = z.string().nullable();

/** One file or member of a collection. The times of its reports are epoch seconds, as in `check --json`. */
const IMPORTED = z.strictObject({
  file: z.string(),
  member: z.string().optional(),
  outcome: TEXT,
  reason: TEXT,
  reports: listOf(
    z.strictObject({
      kind: z.string(),
      org_name: TEXT,
      report_id: TEXT,
      policy_domain: TEXT,
      begin: z.number().nullable(),
      end: z.number().nullable(),
      records: COUNT,
      messages: COUNT,
      pass_messages: COUNT.nullable(),
      warnings: listOf(z.string()),
    }),
  ),
  mail: TEXT,
  /** Why nothing was stored. */
  error: ERROR_LINE.shape.error.optional(),
});

/** The end record has a count for each outcome beside its own members. */
const IMPORT_END = z.strictObject({
  end: z.object({ count: COUNT, next: z.null(), error: ERROR_LINE.shape.error.optional() }).catchall(COUNT),
});

/** A line of the answer of an import: an item, the end record, or an error record in its place. */
export const IMPORT_LINE = z.union([IMPORTED, IMPORT_END, ERROR_LINE]);

export const REPARSED = z.strictObject({
  parsed: COUNT,
  outcomes: COUNTS,
  skipped: SKIPPED,
  no_raw: COUNT,
  dry_run: z.boolean(),
});

export const FED = z.strictObject({
  accepted: COUNT,
  repeated: COUNT,
  rejected: COUNT,
  errors: listOf(z.strictObject({ line: COUNT, reason: z.string() })),
});
