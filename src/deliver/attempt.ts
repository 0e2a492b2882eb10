/** One attempt to deliver one envelope: finds its hosts, tries them in order, and tells what was said. */
import { readFileSync } from "node:fs";
import type { Config } from "../config/schema.ts";
import { mailHosts } from "../dns/mx.ts";
import type { Resolver } from "../dns/resolver.ts";
import { type Clock, epochSeconds } from "../lib/clock.ts";
import { errorText } from "../lib/errors.ts";
import type { Log } from "../lib/log/log.ts";
import { parseAddress } from "../model/domain-name.ts";
import type { Envelope, LastReply } from "../model/queue.ts";
import { postReport } from "./https.ts";
import { type SmtpReply, type SmtpTarget, sendSmtp } from "./smtp.ts";

export interface AttemptOptions {
  readonly config: () => Config;
  readonly resolver: Resolver;
  readonly clock: Clock;
  readonly log: Log;
  /** 0 to 1. */
  readonly random: () => number;
}

export interface Attempted {
  readonly result: "delivered" | "temporary" | "permanent";
  readonly reply: LastReply;
  /** Where it ended: an SMTP command, connect, tls, dns, address, https, queue… */
  readonly stage: string;
}

/** A reply of no server. `text` says what happened here. */
export function localReply(clock: Clock, text: string, enhanced: string | null = null): LastReply {
  return { at: epochSeconds(clock), host: null, ip: null, tls: null, code: null, enhanced, text };
}

/** Makes one attempt. What hosts and DNS say is the result; a rejection is a bug, and the caller settles it. */
export async function attempt(
  envelope: Envelope,
  raw: Uint8Array,
  options: AttemptOptions,
): Promise<Attempted> {
  const { clock } = options;
  if (envelope.transport === "https") return postHttps(envelope, raw, options);
  if (!parseAddress(envelope.rcpt) || !parseAddress(envelope.sender)) {
    const reply = localReply(clock, "not an address that can be sent to", "5.1.3");
    return { result: "permanent", reply, stage: "address" };
  }
  const found = await targetsOf(envelope, options);
  if (!found.ok) return found.outcome;
  let last: Attempted | undefined;
  for (const target of found.targets) {
    last = await tryHost(envelope, raw, target, options);
    // the next host only where this one could not be talked to
    if (last.result !== "temporary" || last.reply.code !== null) return last;
  }
  return last ?? { result: "temporary", reply: localReply(clock, "no host to try", "4.4.4"), stage: "dns" };
}

async function postHttps(
  { rcpt, destination }: Envelope,
  raw: Uint8Array,
  { config, resolver, clock }: AttemptOptions,
): Promise<Attempted> {
  const { allow_private } = config().deliver;
  const { result, code, text, ip, tls } = await postReport(rcpt, raw, resolver, allow_private);
  const reply = { at: epochSeconds(clock), host: destination, ip, tls, code, enhanced: null, text };
  return { result, reply, stage: "https" };
}

type Targets =
  | { readonly ok: true; readonly targets: readonly SmtpTarget[] }
  | { readonly ok: false; readonly outcome: Attempted };

/** The hosts to try, in order; or the outcome, when there is none. */
async function targetsOf(envelope: Envelope, options: AttemptOptions): Promise<Targets> {
  const { config, resolver, random, clock } = options;
  const { deliver } = config();
  if (deliver.relay !== undefined) return relayTarget(deliver, deliver.relay, options);
  const found = await mailHosts(resolver, envelope.destination, {
    family: deliver.ip_family,
    allowPrivate: deliver.allow_private,
    random,
  });
  if (!found.ok) {
    const result = found.temporary ? "temporary" : "permanent";
    const reply = localReply(clock, found.text, found.enhanced);
    return { ok: false, outcome: { result, reply, stage: "dns" } };
  }
  const targets = found.hosts.flatMap(({ host, addresses }) =>
    addresses.map((address) => ({ host, address, port: deliver.port, tls: deliver.tls, auth: null })),
  );
  return { ok: true, targets };
}

/** The configured relay. Its password file is read at each attempt, so that a changed one is used at once. */
function relayTarget(
  deliver: Config["deliver"],
  relay: string,
  { clock, log }: Pick<AttemptOptions, "clock" | "log">,
): Targets {
  const match = /^(\[[^\]]+\]|[^:]+)(?::(\d+))?$/.exec(relay)!;
  const host = match[1]!.replace(/^\[|\]$/g, "");
  const { relay_tls: tls, relay_user: user, relay_password_file: file } = deliver;
  const port = Number(match[2] ?? (tls === "implicit" ? 465 : 25));
  if (user === undefined || file === undefined)
    return { ok: true, targets: [{ host, address: host, port, tls, auth: null }] };
  let password: string;
  try {
    password = readFileSync(file, "utf8").trim();
  } catch (error) {
    const text = `deliver.relay_password_file cannot be read: ${errorText(error)}`;
    log.error("deliver.problem", { reason: text });
    return { ok: false, outcome: { result: "temporary", reply: localReply(clock, text), stage: "config" } };
  }
  return { ok: true, targets: [{ host, address: host, port, tls, auth: { user, password } }] };
}

async function tryHost(
  envelope: Envelope,
  raw: Uint8Array,
  target: SmtpTarget,
  options: AttemptOptions,
): Promise<Attempted> {
  const first = await send(envelope, raw, target, options);
  // RFC 8460 3: a TLS report must get through whatever is wrong with TLS
  const clear = envelope.kind === "tls" || options.config().deliver.plaintext_fallback;
  const again = first.stage === "tls" && clear && target.tls !== "required";
  const reply = again ? await send(envelope, raw, { ...target, tls: "none" }, options) : first;
  const { result, code, enhanced, text, tls, stage } = reply;
  const at = epochSeconds(options.clock);
  return { result, reply: { at, host: target.host, ip: target.address, tls, code, enhanced, text }, stage };
}

function send(
  { sender, rcpt }: Envelope,
  raw: Uint8Array,
  target: SmtpTarget,
  { config, clock }: AttemptOptions,
): Promise<SmtpReply> {
  const { hostname, connect_timeout, attempt_timeout } = config().deliver;
  return sendSmtp(target, { from: sender, to: rcpt }, raw, {
    clock,
    name: hostname,
    connectTimeoutMs: connect_timeout,
    attemptTimeoutMs: attempt_timeout,
  });
}
