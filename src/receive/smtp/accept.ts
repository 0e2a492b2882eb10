/** Accepts one whole mail: checks it, has it authenticated and stored, and turns the result into an SMTP reply. */
import type { SMTPServerSession } from "smtp-server";
import type { Config } from "../../config/schema.ts";
import { type Clock, epochSeconds } from "../../lib/clock.ts";
import { type ErrorCode, errorText, type MailreportError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log/log.ts";
import { type Failure, failureOf, logFailure, supervised } from "../../lib/supervised.ts";
import type { DaemonEventSink } from "../../model/events.ts";
import type { MessageAuth } from "../../model/message-auth.ts";
import type { ReportKind } from "../../model/report.ts";
import type { Accepted, Intake } from "../../store/archive/intake.ts";
import { refusalBefore } from "../policy.ts";
import type { IngestPort } from "../port.ts";
import { inspect } from "./data.ts";
import { receivedField } from "./received.ts";

const MAX_HOPS = 50;
/** Mail in memory, of all sessions together. */
const BUFFERED_BYTES = 256 << 20;

export interface SessionFacts {
  readonly remoteIp: string | null;
  readonly helo: string | null;
  readonly envelopeFrom: string;
  readonly source: "smtp" | "lmtp";
}

/** Kinds of reports that an address accepts; empty = any. */
export type KindsOf = (address: string) => readonly ReportKind[];

export interface AcceptorOptions {
  readonly config: () => Config;
  readonly ingest: IngestPort;
  readonly clock: Clock;
  readonly log: Log;
  readonly events: DaemonEventSink;
  readonly verify: (raw: Buffer, facts: SessionFacts) => Promise<MessageAuth>;
  /** Called after the commit. An error in it is logged; the mail is accepted all the same. */
  readonly onAccepted: (accepted: Accepted, intake: Intake) => void;
}

/** The reply to one mail. */
export interface MailReply {
  readonly error: Error | null;
  readonly message?: string;
}

/** An error that smtp-server turns into a reply. */
export function reply(code: number, text: string): Error {
  return Object.assign(new Error(text), { responseCode: code });
}

/** The reply to a mail that cannot be stored now. */
export function temporaryReply({ code }: MailreportError): Error {
  return code === "store.full"
    ? reply(452, "4.3.1 No space left here; come back later")
    : reply(451, "4.3.0 Cannot store mail now; come back later");
}

/** The status codes of that reply. */
const statusOf = (code: ErrorCode): string => (code === "store.full" ? "452 4.3.1" : "451 4.3.0");

export function senderOf(session: SMTPServerSession): string {
  return session.envelope.mailFrom ? session.envelope.mailFrom.address : "";
}

export class MailAcceptor {
  readonly #options: AcceptorOptions;
  readonly #count: Record<string, number> = { "mail.accepted": 0, "mail.refused": 0, "mail.deferred": 0 };
  #buffered = 0;
  /** Why the last mail could not be stored; null when it could. */
  #problem: MailreportError | null = null;

  constructor(options: AcceptorOptions) {
    this.#options = options;
  }

  /** Counts and reports an address that accepts no mail. */
  refusedRecipient(session: SMTPServerSession, address: string): void {
    this.#count["mail.refused"]!++;
    this.#refusedBecause(session, "550 5.1.1", "unknown-recipient", address);
  }

  /** Counts and reports a mail that is refused for good. */
  refused(session: SMTPServerSession, code: string, reason: string): void {
    this.#count["mail.refused"]!++;
    this.#refusedBecause(session, code, reason, null);
  }

  #refusedBecause(session: SMTPServerSession, reply: string, reason: string, rcpt: string | null): void {
    const from = senderOf(session);
    this.#options.events.emit("mail.refused", { from, remote: session.remoteAddress, rcpt, reply, reason });
  }

  /** Counts and reports a mail that gets a temporary error by a fault of ours; a bug is logged with its stack. */
  deferred(session: SMTPServerSession, { error, bug }: Failure): void {
    this.#problem = error;
    this.#count["mail.deferred"]!++;
    const { log, events } = this.#options;
    const fields = { from: senderOf(session), remote: session.remoteAddress };
    if (bug) logFailure({ log, unit: "mail", fields }, { error, bug });
    const reply = statusOf(error.code);
    events.emit("mail.deferred", { ...fields, code: error.code, reply, reason: errorText(error) });
  }

  /**
   * Hands a whole mail to the archive; returns the reply to it. Rejects only when an invariant of the store is broken.
   * @param stored the mail with our Received field
   * @param prefix bytes of that field
   */
  async accept(
    stored: Buffer,
    prefix: number,
    session: SMTPServerSession,
    kindsOf: KindsOf,
    lmtp: boolean,
  ): Promise<MailReply> {
    const raw = stored.subarray(prefix); // as it came
    const refusal = this.#refusal(raw, session);
    if (refusal) return { error: refusal };
    if (this.#buffered + raw.length > BUFFERED_BYTES && this.#buffered > 0) {
      return { error: reply(452, "4.3.1 Too much mail at once, come back later") };
    }
    this.#buffered += raw.length;
    try {
      return await this.#store(stored, raw, session, kindsOf, lmtp ? "lmtp" : "smtp");
    } catch (thrown) {
      const failure = failureOf(thrown);
      if (failure.error.code === "store.not_durable") throw thrown;
      this.deferred(session, failure);
      return { error: temporaryReply(failure.error) };
    } finally {
      this.#buffered -= raw.length;
    }
  }

  /** Why the bytes of a mail are refused for good. */
  #refusal(raw: Buffer, session: SMTPServerSession): Error | undefined {
    const { hops, smuggled } = inspect(raw);
    if (hops > MAX_HOPS) {
      this.refused(session, "554 5.4.6", "loop");
      return reply(554, "5.4.6 Too many hops: a mail loop");
    }
    if (smuggled) {
      this.refused(session, "550 5.6.11", "bare-carriage-return");
      return reply(550, "5.6.11 Bare carriage returns are not accepted");
    }
    return undefined;
  }

  /** Authenticates and stores a mail. Errors: those of the store. */
  async #store(
    stored: Buffer,
    raw: Buffer,
    session: SMTPServerSession,
    kindsOf: KindsOf,
    source: "smtp" | "lmtp",
  ): Promise<MailReply> {
    const { ingest, verify, config } = this.#options;
    const auth = await verify(raw, {
      remoteIp: session.remoteAddress || null,
      helo: session.hostNameAppearsAs || null,
      envelopeFrom: senderOf(session),
      source,
    });
    const intake = this.#intake(stored, session, kindsOf, auth, source);
    if (refusalBefore(config(), intake.kinds, auth) === "temperror") return this.#unverified(session, auth);
    return this.#answer(await ingest.accept(intake), intake, raw.length, session);
  }

  /** The reply to a mail that is committed. Never throws: it must get this reply. */
  #answer(accepted: Accepted, intake: Intake, size: number, session: SMTPServerSession): MailReply {
    const { log, events, onAccepted } = this.#options;
    const { auth, envelopeFrom } = intake;
    this.#problem = null;
    const outcome = accepted.spooled ? "spooled" : accepted.result.outcome;
    const id = `m${accepted.spooled ? accepted.mailId : accepted.result.mailId}`;
    if (outcome === "unauthenticated") {
      this.refused(session, "550 5.7.1", "unauthenticated");
      return {
        error: reply(550, `5.7.1 The mail is not authenticated; kept as ${id} for inspection only`),
      };
    }
    this.#count["mail.accepted"]!++;
    const reason = accepted.spooled ? null : accepted.result.reason;
    events.emit("mail.accepted", {
      id,
      from: envelopeFrom,
      remote: session.remoteAddress,
      tls: session.secure,
      size,
      outcome,
      reason,
      auth: auth.verdict,
      domain: auth.domain,
    });
    void supervised({ log, unit: "accepted mail", fields: { id } }, () => onAccepted(accepted, intake));
    const detail = reason === null ? outcome : `${outcome}: ${reason}`;
    return { error: null, message: `2.0.0 Ok: kept as ${id} (${detail})` };
  }

  /** DNS gives no answer now, and the mail would be refused if it is not authentic. */
  #unverified(session: SMTPServerSession, auth: MessageAuth): MailReply {
    this.#count["mail.deferred"]!++;
    const fields = { from: senderOf(session), remote: session.remoteAddress, reason: auth.detail };
    this.#options.events.emit("mail.deferred", { ...fields, code: null, reply: "451 4.4.3" });
    return { error: reply(451, "4.4.3 DNS cannot tell whether the mail is authentic; come back later") };
  }

  /** Our Received field (RFC 5321 4.4), which is put before the mail as it is stored. */
  received(session: SMTPServerSession, lmtp: boolean): Buffer {
    const { rcptTo } = session.envelope;
    const text = receivedField({
      helo: session.hostNameAppearsAs || "unknown",
      remoteIp: session.remoteAddress || null,
      by: this.#options.config().smtp.banner,
      protocol: lmtp
        ? "LMTP"
        : session.secure
          ? "ESMTPS"
          : session.openingCommand === "HELO"
            ? "SMTP"
            : "ESMTP",
      to: rcptTo.length === 1 ? rcptTo[0]!.address : null,
      time: epochSeconds(this.#options.clock),
      id: session.id,
    });
    return Buffer.from(text, "latin1");
  }

  #intake(
    raw: Buffer,
    session: SMTPServerSession,
    kindsOf: KindsOf,
    auth: MessageAuth,
    source: "smtp" | "lmtp",
  ): Intake {
    const now = epochSeconds(this.#options.clock);
    const to = session.envelope.rcptTo.map((rcpt) => rcpt.address);
    // a mail to several addresses may contain any kind that one of them accepts
    const sets = to.map((address) => kindsOf(address));
    const kinds = sets.some((set) => set.length === 0) ? [] : [...new Set(sets.flat())];
    return {
      raw,
      hints: { form: "mail", fileName: null, receivedAt: now },
      source,
      envelopeFrom: senderOf(session),
      envelopeTo: to,
      remoteIp: session.remoteAddress || null,
      remoteName: session.hostNameAppearsAs || null,
      tls: session.secure ? "TLS" : null,
      auth,
      kinds,
    };
  }

  get problem(): MailreportError | null {
    return this.#problem;
  }

  stats(): Record<string, number> {
    return { ...this.#count, "smtp.buffered": this.#buffered };
  }
}
