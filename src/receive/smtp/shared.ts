/** What the listeners and the dialogs of their sessions share. */
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
  /** Of the last reload. */
  config: Config;
  recipients: RecipientTable;
  stopping: boolean;
  readonly connections: ConnectionLimits;
  readonly acceptor: MailAcceptor;
  /** Those that are open, by the id of their connection. */
  readonly sessions: Map<string, Session>;
}

/** Our side of a session that has said more than hello. */
export function sessionOf(shared: Shared, session: SMTPServerSession): Session {
  const own = shared.sessions.get(session.id);
  if (!own) throw new MailreportError("daemon.bug", { detail: "a session without a connection" });
  return own;
}
