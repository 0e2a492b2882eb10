/** Answers about envelopes, messages, suppressions and pauses. */
import { z } from "zod";
import { QUEUE } from "../../model/lists/queue.ts";
import { SUPPRESSIONS } from "../../model/lists/suppressions.ts";
import { AT, COUNT, listOf, SKIPPED } from "./common.ts";
import { objectSchema } from "./lists.ts";

const KIND = z.enum(["dmarc", "tls"]);

/** What the other side said, or why there was no connection. */
const REPLY = {
  code: z.number().nullable(),
  enhanced: z.string().nullable(),
  text: z.string(),
  mx: z.string().nullable(),
  ip: z.string().nullable(),
  tls: z.string().nullable(),
};

const ENVELOPE = objectSchema(QUEUE.fields);

export const ENVELOPE_DETAILS = z.strictObject({
  ...ENVELOPE.shape,
  suppressed: z.string().optional(),
  history: listOf(
    z.strictObject({
      at: AT,
      result: z.enum(["delivered", "temporary", "permanent"]),
      ...REPLY,
      duration_ms: COUNT,
    }),
  ),
});

export const MESSAGE_DETAILS = z.strictObject({
  id: z.string(),
  report_id: z.string(),
  kind: KIND,
  domain: z.string(),
  sender: z.string(),
  created_at: AT,
  size: COUNT,
  mail_message_id: z.string(),
  mail_report_id: z.string(),
  file_name: z.string(),
  envelopes: listOf(ENVELOPE),
});

export const ENVELOPES_CHANGED = z.strictObject({
  matched: COUNT,
  changed: COUNT,
  skipped: SKIPPED,
  dry_run: z.boolean(),
});

const SUPPRESSION = objectSchema(SUPPRESSIONS.fields);

export const SUPPRESSION_LOOKUP = z.strictObject({
  target: z.string(),
  suppressed: z.boolean(),
  waiting: COUNT,
  entries: listOf(SUPPRESSION),
});

export const SUPPRESSION_ADDED = z.strictObject({
  entry: SUPPRESSION,
  replaced: SUPPRESSION.nullable(),
  waiting: COUNT,
  dry_run: z.boolean(),
});

export const SUPPRESSIONS_REMOVED = z.strictObject({
  removed: listOf(SUPPRESSION),
  skipped: SKIPPED,
  dry_run: z.boolean(),
});

export const PAUSE_CHANGED = z.strictObject({ changed: z.boolean(), dry_run: z.boolean() });
