/** Answers about envelopes, messages, suppressions and pauses. */
import { z } from "zod";
import { iso } from "../../lib/units.ts";
import { ENVELOPE_STATES, type Pause, SUBSYSTEMS } from "../../model/queue.ts";
import { AT, COUNT, listOf, SKIPPED } from "./common.ts";

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

export const ENVELOPE = z.strictObject({
  id: z.string(),
  message_id: z.string(),
  report_id: z.string(),
  kind: KIND,
  domain: z.string(),
  /** `mta` or `https`. */
  agent: z.string(),
  sender: z.string(),
  rcpt: z.string(),
  destination: z.string(),
  state: z.enum(ENVELOPE_STATES),
  flags: listOf(z.string()),
  created_at: AT,
  next_at: AT,
  expires_at: AT,
  last_at: AT.nullable(),
  attempts: COUNT,
  last: z.strictObject(REPLY).nullable(),
  size: COUNT,
});

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

const SUPPRESSION = z.strictObject({
  target: z.string(),
  until: AT.nullable(),
  author: z.enum(["operator", "automatic"]),
  reason: z.string(),
  created_at: AT,
  step: COUNT,
});

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

export const PAUSES = z.strictObject({
  items: listOf(
    z.strictObject({
      subsystem: z.enum(SUBSYSTEMS),
      destination: z.string().nullable(),
      since: AT,
      who: z.string(),
      reason: z.string().nullable(),
    }),
  ),
});

export const PAUSE_CHANGED = z.strictObject({ changed: z.boolean(), dry_run: z.boolean() });

export const pauseView = ({ subsystem, destination, since, who, reason }: Pause) => ({
  subsystem,
  destination,
  since: iso(since),
  who,
  reason,
});
