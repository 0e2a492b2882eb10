/**
 * The catalogue of events: everything that happens to mail, reports, envelopes, feeds and jobs, with its fields. The log,
 * the counters, and later alerts and webhooks subscribe to them. Names and fields are published: within a name fields are
 * only added. Times are epoch seconds, durations milliseconds; null means that there is no such value.
 */
import type { ErrorCode } from "../lib/errors.ts";
import type { EventSink, Events, NameOf } from "../lib/events.ts";
import type { OutgoingKind } from "./outgoing.ts";

/** An event: its sentence, and the type of its fields. */
interface Spec<Fields> {
  readonly text: string;
  /** Only a type. */
  readonly fields?: Fields;
}

const event = <Fields extends object>(text: string): Spec<Fields> => ({ text });

/** An attempt to deliver an envelope, or what became of the envelope by it. */
interface EnvelopeFields {
  readonly id: string;
  /** Id of its message. */
  readonly message: string;
  /** Id of the outgoing report. */
  readonly outgoing: string;
  /** Policy domain of the report. */
  readonly domain: string;
  readonly rcpt: string;
  readonly host: string | null;
  readonly tls: string | null;
  /** SMTP or HTTP status; null: nobody replied. */
  readonly code: number | null;
  /** Enhanced status code (RFC 3463). */
  readonly enhanced: string | null;
  /** Text of the reply, or what happened here. */
  readonly reply: string;
  /** Attempts so far. */
  readonly attempts: number;
  readonly ms: number;
  /** The next attempt; null: there is none. */
  readonly next: number | null;
}

/** A report of a mail. */
interface ReportFields {
  /** Id of the mail. */
  readonly mail: string;
  readonly kind: string;
  readonly org: string | null;
  readonly report_id: string | null;
  /** Policy domain. */
  readonly domain: string | null;
}

interface OutgoingFields {
  readonly id: string;
  readonly kind: OutgoingKind;
  /** Policy domain. */
  readonly domain: string;
}

export const EVENTS = {
  "daemon.ready": event<{ readonly smtp: readonly string[]; readonly control: string }>("everything listens"),
  "daemon.stopping": event<{ readonly who: string }>("the daemon drains and stops"),

  "mail.accepted": event<{
    readonly id: string;
    /** Envelope sender. */
    readonly from: string | null;
    /** Address of the client. */
    readonly remote: string | null;
    readonly tls: boolean;
    /** Bytes. */
    readonly size: number;
    readonly outcome: string;
    readonly reason: string | null;
    /** Verdict of the message authentication, and the domain that it is about. */
    readonly auth: string;
    readonly domain: string | null;
  }>("a mail got its 250: committed, with its outcome, or `spooled` when it is parsed later"),
  "mail.parsed": event<{
    readonly id: string;
    readonly outcome: string;
    readonly reason: string | null;
  }>("a mail that had been stored before was parsed (outcome, reason)"),
  "mail.refused": event<{
    readonly from: string | null;
    readonly remote: string | null;
    /** The address that accepts no mail; null: the mail was refused for another reason. */
    readonly rcpt: string | null;
    /** Status codes of the reply. */
    readonly reply: string;
    readonly reason: string;
  }>("a mail was refused in the dialog (reply, reason)"),
  "mail.deferred": event<{
    readonly from: string | null;
    readonly remote: string | null;
    /** Our error; null: DNS could not tell whether the mail is authentic. */
    readonly code: ErrorCode | null;
    /** Status codes of the reply. */
    readonly reply: string;
    readonly reason: string | null;
  }>("a mail got a 4xx reply by a fault of ours, or while DNS gave no answer (code, reason)"),

  "report.stored": event<
    ReportFields & { readonly id: string; readonly records: number; readonly messages: number }
  >("a report was parsed and stored"),
  "report.duplicate": event<
    ReportFields & {
      /** It has the key of a stored report and other content. */
      readonly conflict: boolean;
    }
  >("a report was stored before"),
  "report.invalid": event<{
    readonly mail: string;
    readonly kind: string | null;
    readonly reason: string;
    readonly detail: string | null;
  }>("a mail or a part of it contains an unusable report (reason)"),

  "ingest.started": event<{ readonly pid: number }>("the ingest process runs"),
  "ingest.died": event<{ readonly pid: number; readonly why: string; readonly during: string | null }>(
    "the ingest process ended unexpectedly and is started again",
  ),
  "ingest.quarantined": event<{ readonly mail: string; readonly reason: string }>(
    "a mail killed or hung the ingest process and is kept raw",
  ),

  "feed.listening": event<{ readonly feed: string; readonly path: string }>("a feed socket is open"),
  "feed.batch": event<{
    readonly feed: string;
    readonly accepted: number;
    /** Of the accepted: counted before by id. */
    readonly repeated: number;
    readonly rejected: number;
  }>("evaluations or sessions were counted"),
  "feed.rejected": event<{
    readonly feed: string;
    /** Number of rejected lines; the other fields are about the first one. */
    readonly rejected: number;
    readonly line: number;
    readonly reason: string;
  }>("a line of a feed was rejected (line, reason)"),
  "feed.lost": event<{
    readonly feed: string;
    /** What ended: one connection, or the socket that clients connect to. */
    readonly what: "connection" | "socket";
    readonly error: string;
  }>("a connection or socket of a feed ended with an error; what was not acknowledged was not counted"),

  "outgoing.opened": event<OutgoingFields>("an outgoing report was opened"),
  "outgoing.composed": event<
    OutgoingFields & {
      /** Id of the message. */
      readonly message: string;
      readonly report_id: string;
      /** Recipients, separated by commas. */
      readonly rcpt: string;
      /** Bytes. */
      readonly size: number;
    }
  >("an outgoing report became a message"),
  "outgoing.dropped": event<OutgoingFields & { readonly reason: string; readonly messages: number }>(
    "an outgoing report will not be sent (reason)",
  ),
  "outgoing.deferred": event<
    OutgoingFields & {
      /** DNS gave no answer, the store failed, or composing failed by another error. */
      readonly cause: "dns" | "store" | "composing";
      readonly reason: string;
      readonly next: number;
    }
  >("an outgoing report waits: DNS, or composing failed (reason, next try)"),
  "outgoing.undeleted": event<
    OutgoingFields & {
      readonly due: number;
      readonly messages: number;
      /** A report that became a part of it. */
      readonly merged: string | null;
    }
  >("a dropped outgoing report was brought back (due, messages, merged: a report that became a part of it)"),

  "envelope.delivered": event<EnvelopeFields>("an envelope was delivered"),
  "envelope.deferred": event<EnvelopeFields>("an attempt failed for now (reply, next try)"),
  "envelope.failed": event<EnvelopeFields>("an envelope failed for good (reply)"),
  "envelope.expired": event<EnvelopeFields>("an envelope has expired"),
  "envelope.bounced": event<{
    readonly id: string;
    readonly message: string;
    readonly outgoing: string;
    readonly domain: string;
    readonly rcpt: string;
    /** Action, status and diagnostic text of the notification (RFC 3464 2.3). */
    readonly action: string;
    readonly status: string | null;
    readonly diagnostic: string | null;
  }>("a delivery status notification for an envelope was received"),
  "suppression.added": event<{
    readonly target: string;
    readonly until: number | null;
    readonly reason: string;
  }>("an address was suppressed after a reply or a bounce (target, until, reason)"),

  "control.changed": event<{
    readonly command: string;
    readonly who: string;
    /** What was selected and changed, and the reason that was given. */
    readonly detail: Readonly<Record<string, unknown>>;
  }>("something was changed on request (command, who, reason, and what was changed)"),

  "job.finished": event<{
    readonly job: string;
    readonly who: string;
    readonly result: "ok" | "stopped";
    readonly ms: number;
    /** Counts of what was done. */
    readonly detail: Readonly<Record<string, unknown>>;
  }>("a job has finished (job, who, result, detail)"),
  "job.failed": event<{
    readonly job: string;
    readonly who: string;
    readonly code: ErrorCode;
    readonly error: string;
    readonly ms: number;
    /** Its next run; null: it is switched off. */
    readonly next: number | null;
  }>("a job failed (job, code, error, next run); its log line is unit.failed"),

  "store.problem": event<{
    /** `warn`: what failed is tried again or was not needed; `error`: something stands still. */
    readonly level: "warn" | "error";
    readonly what: string;
    readonly code: ErrorCode;
    readonly error: string;
    /** The ingest process that ends again and again. */
    readonly process?: { readonly pid: number; readonly why: string; readonly during: string | null };
  }>("a database operation failed, or the start waits for one (code, error)"),
  "store.available": event<Readonly<Record<string, never>>>(
    "the databases can be used after a start that had to wait",
  ),
} as const;

type Catalogue = typeof EVENTS;

/** The fields of each event. */
export type EventFields = {
  readonly [N in keyof Catalogue]: Catalogue[N] extends Spec<infer Fields> ? Fields : never;
};

export type EventName = NameOf<EventFields>;
export type DaemonEvents = Events<EventFields>;
/** What a part of the daemon that reports events is given. */
export type DaemonEventSink = EventSink<EventFields>;
