/** The composition of one outgoing report as a job: what goes in, what comes out, and the work, which needs no store but the tallies. */
import { composeDocuments, composeMail } from "../../format/compose/compose.ts";
import type { ReportIdentity } from "../../format/dmarc/write.ts";
import type { SigningKey } from "../../format/mail/dkim-sign.ts";
import { MailreportError } from "../../lib/errors.ts";
import type { OutgoingKind, OutgoingPolicy, TallySums } from "../../model/outgoing.ts";
import type { TallyReader } from "../../store/sqlite/queue/tally-reader.ts";
import { reportIdOf } from "../periods.ts";

/** All members can be cloned to another thread. */
export interface ComposeJob {
  readonly outgoingId: string;
  readonly kind: OutgoingKind;
  readonly identity: ReportIdentity;
  readonly policyDomain: string;
  /** First and last second. */
  readonly begin: number;
  readonly end: number;
  readonly policy: OutgoingPolicy;
  readonly note: string | null;
  readonly profile: "both" | "rfc9990";
  /** Bytes of one message; larger reports are split. */
  readonly maxMessageSize: number;
  /** Of the instance, for report ids. */
  readonly secret: Uint8Array;
  /** Recipients in order; `document`: it is sent the compressed report itself (https, RFC 8460 5.4). */
  readonly recipients: readonly { readonly to: string; readonly form: "mail" | "document" }[];
  /** Epoch seconds of the composition. */
  readonly time: number;
  readonly keys: readonly SigningKey[];
}

/** One message of a composed report. */
export interface ComposedMail {
  /** Index in the recipients of the job. */
  readonly recipient: number;
  readonly messageId: string;
  readonly reportId: string;
  readonly fileName: string;
  readonly raw: Uint8Array;
}

export interface Composed {
  /** The outgoing report that it was composed from. */
  readonly outgoingId: string;
  /** The sums of the tallies that it was composed from. */
  readonly seen: TallySums;
  readonly mails: readonly ComposedMail[];
}

/**
 * Composes a report: one message a recipient, for recipients do not see each other and each has its own fate
 * (RFC 9990 3.5). The same job over the same tallies gives the same bytes.
 * Errors: `outgoing.no_such_report`, `compose.readback_differs`, those of the store.
 */
export function composeJob(job: ComposeJob, tallies: TallyReader): Composed {
  const { outgoingId, kind, begin, end, secret, recipients, time, keys } = job;
  const found = tallies.read(outgoingId);
  if (!found) throw new MailreportError("outgoing.no_such_report", { detail: outgoingId });
  const reportId = (part: number): string => reportIdOf(kind, outgoingId, { begin, end }, part, secret);
  const input = { ...job, rows: found.rows, reportId };
  const mails = composeDocuments(input).flatMap((document) =>
    recipients.map(({ to, form }, recipient): ComposedMail => {
      const { messageId, raw } = composeMail(input, document, to, recipient + 1, time, keys);
      const { reportId: id, fileName, body } = document;
      return { recipient, messageId, reportId: id, fileName, raw: form === "mail" ? raw : body };
    }),
  );
  return { outgoingId, seen: found.seen, mails };
}

/** What composes reports. */
export interface Composer {
  /** Errors: those of `composeJob`; `compose.died`, `daemon.stopping`. */
  compose(job: ComposeJob): Promise<Composed>;
  /** Copies committed pages of queue.db from its log into the file, away from the thread that serves everybody. */
  checkpoint(): Promise<void>;
  /** Ends what runs; it fails with `daemon.stopping`. */
  stop(): Promise<void>;
}
