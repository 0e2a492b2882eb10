/** State that the listeners share with the dialogs of their sessions. */
import type { SMTPServerSession } from "smtp-server";
import type { Config } from "../../config/schema.ts";
import type { Clock } from "../../lib/clock.ts";
import { MailreportError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log/log.ts";
import type { RecipientTable } from "../recipients.ts";
import type { MailAcceptor } from "./accept.ts";
import type { ConnectionLimits } from "./connection-limits.ts";
import type { Session } from "./session.ts";

export type Protocol = "smtp" | "lmtp";

export interface Shared {
  readonly clock: Clock;
  readonly log: Log;
  /** In force; a reload replaces it. */
  config: Config;
  recipients: RecipientTable;
  stopping: boolean;
  /** Why no mail can be stored now: each gets a temporary error at MAIL. */
  problem: MailreportError | null;
  readonly connections: ConnectionLimits;
  readonly acceptor: MailAcceptor;
  /** Open sessions, by the id of their connection. */
  readonly sessions: Map<string, Session>;
}

/** Our state of a session that has begun a transaction. Errors: `daemon.bug` when there is none. */
export function sessionOf(shared: Shared, session: SMTPServerSession): Session {
  const own = shared.sessions.get(session.id);
  if (!own) throw new MailreportError("daemon.bug", { detail: "a session without a connection" });
  return own;
}
