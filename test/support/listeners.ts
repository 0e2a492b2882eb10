/** SMTP and LMTP listeners on real sockets, for component tests; with stand-ins for the ingest process and the verifier. */
import { type Config, configSchema } from "../../src/config/schema.ts";
import { type Clock, systemClock } from "../../src/lib/clock.ts";
import { type Log, silentLog } from "../../src/lib/log/log.ts";
import type { DaemonEvents } from "../../src/model/events.ts";
import type { MessageAuth } from "../../src/model/message-auth.ts";
import { NOT_VERIFIED } from "../../src/receive/auth/verify.ts";
import type { IngestPort } from "../../src/receive/port.ts";
import type { SessionFacts } from "../../src/receive/smtp/accept.ts";
import { type SmtpListeners, startSmtp } from "../../src/receive/smtp/server.ts";
import type { Accepted, Intake } from "../../src/store/archive/intake.ts";
import { loggedEvents } from "./recorded-events.ts";

/** The result of the archive for a mail that it has committed. */
export const stored = (mailId: number): Accepted => ({
  spooled: false,
  result: {
    mailId,
    outcome: "imported",
    reason: null,
    detail: null,
    items: [],
    reportIds: [],
    dsns: [],
    envelopeTo: [],
  },
});

export interface ListenerOptions {
  readonly smtp?: Record<string, unknown>;
  readonly lmtp?: readonly string[];
  readonly accept?: (intake: Intake) => Promise<Accepted>;
  readonly auth?: Partial<MessageAuth>;
  readonly requireAuth?: unknown;
  readonly clock?: Clock;
  readonly log?: Log;
  /** Default: written to the log. */
  readonly events?: DaemonEvents;
  /** In place of the played verifier. */
  readonly verify?: () => Promise<MessageAuth>;
  readonly isReturnPath?: (address: string) => boolean;
  readonly onAccepted?: () => void;
}

const running: SmtpListeners[] = [];

/** A configuration with the addresses that the tests send to. */
export function listenerConfig(options: ListenerOptions, more: readonly object[] = []): Config {
  const raw = configSchema.parse({
    smtp: { listen: ["127.0.0.1:0"], ...options.smtp },
    lmtp: { listen: options.lmtp ?? [] },
    receive: { require_auth: options.requireAuth ?? "flag" },
    recipient: [
      { address: "dmarc@example.org", kinds: ["dmarc"] },
      { address: "tls-*@example.org", kinds: ["tls"] },
      { address: "@all.example" },
      ...more,
    ],
  });
  return { ...raw, smtp: { ...raw.smtp, banner: "mx.example.org" } } as unknown as Config;
}

export async function openListeners(options: ListenerOptions = {}) {
  const accept = options.accept ?? (async () => stored(1));
  const facts: SessionFacts[] = [];
  const taken: Intake[] = [];
  const ingest = {
    accept: (intake: Intake) => {
      taken.push(intake);
      return accept(intake);
    },
  } as unknown as IngestPort;
  const { clock = systemClock, log = silentLog } = options;
  const listeners = await startSmtp({
    config: listenerConfig(options),
    ingest,
    clock,
    log,
    events: options.events ?? loggedEvents(log, clock),
    verify: async (_raw, session) => {
      facts.push(session);
      return options.verify?.() ?? { ...NOT_VERIFIED, ...options.auth };
    },
    isReturnPath: options.isReturnPath ?? ((address) => address.startsWith("noreply+")),
    onAccepted: options.onAccepted ?? (() => {}),
  });
  running.push(listeners);
  const portOf = (protocol: string): number =>
    listeners.listening.find((listening) => listening.protocol === protocol)?.port ?? 0;
  return { listeners, taken, facts, port: portOf("smtp"), lmtpPort: portOf("lmtp") };
}

/** For `afterEach`. */
export async function closeListeners(): Promise<void> {
  for (const listeners of running.splice(0)) await listeners.stop(0);
}
