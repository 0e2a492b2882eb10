/** Where an outgoing report goes: looked up when it is due, agreed to, and not suppressed (RFC 9990 3.5, 4). */
import { authorizeDestinations } from "../dns/authorization.ts";
import { policyAt } from "../dns/policy.ts";
import type { Resolver } from "../dns/resolver.ts";
import { parseTlsrptRecord, tlsrptAt } from "../dns/tlsrpt.ts";
import { type ReportUri, readUris } from "../dns/uri.ts";
import { errorText, MailreportError } from "../lib/errors.ts";
import type { Log } from "../lib/log/log.ts";
import { failureOf, logFailure } from "../lib/supervised.ts";
import { iso } from "../lib/units.ts";
import type { DropReason, OutgoingPolicy, OutgoingReport } from "../model/outgoing.ts";
import type { QueueStore } from "../store/queue.ts";
import type { Check } from "./checks.ts";

export type Destinations =
  | {
      readonly result: "send";
      readonly uris: readonly ReportUri[];
      readonly checks: readonly Check[];
      readonly note: string | null;
    }
  | { readonly result: "drop"; readonly reason: DropReason; readonly checks: readonly Check[] }
  | { readonly result: "wait"; readonly detail: string; readonly checks: readonly Check[] };

export interface DestinationOptions {
  readonly resolver: Resolver;
  readonly store: QueueStore;
  /** Epoch seconds. */
  readonly now: number;
  /** After waiting for DNS in vain: use the addresses as last seen. */
  readonly lastResort: boolean;
  /** Wait also when only a part of the addresses cannot be checked now. */
  readonly patient: boolean;
}

/** Addresses seen longer ago than this are not used without asking. Seconds. */
const LAST_SEEN = 48 * 3600;
/** Waits for DNS: then the last seen addresses are used (RFC 9990 4: a temporary error may be retried). Seconds. */
export const DNS_WAITS = [900, 3600, 7200, 14_400, 28_800, 28_800];
/** Of these, waits for the rest when some addresses can be used. */
const PART_WAITS = 2;

/**
 * Where a report goes now. A resolver that throws is one that cannot answer: the report waits.
 * Errors: those of the store.
 * @param attempts how often DNS was asked in vain before
 */
export async function destinationsOf(
  report: OutgoingReport,
  { resolver, store, log }: { readonly resolver: Resolver; readonly store: QueueStore; readonly log: Log },
  now: number,
  attempts: number,
): Promise<Destinations> {
  const policy = store.outgoingPolicy(report.id);
  if (!policy) throw new MailreportError("outgoing.no_such_report", { detail: report.id });
  const lastResort = attempts >= DNS_WAITS.length;
  const patient = attempts < PART_WAITS;
  try {
    return await resolveDestinations(report, policy, { resolver, store, now, lastResort, patient });
  } catch (error) {
    if (error instanceof MailreportError && error.code.startsWith("store.")) throw error;
    logFailure({ log, unit: "look-up of destinations", fields: { id: report.id } }, failureOf(error));
    const detail = errorText(error);
    return { result: "wait", detail, checks: [{ check: "DNS", ok: false, detail }] };
  }
}

async function resolveDestinations(
  report: OutgoingReport,
  policy: OutgoingPolicy,
  options: DestinationOptions,
): Promise<Destinations> {
  const checks: Check[] = [];
  const published = await publishedUris(report, policy, options, checks);
  if (!Array.isArray(published)) return published as Destinations;
  const { usable, refused } = readUris(published as string[], report.kind === "tls");
  for (const { uri, why } of refused) checks.push({ check: `address ${uri}`, ok: false, detail: why });
  if (usable.length === 0)
    return { result: "drop", reason: published.length === 0 ? "no-rua" : "no-usable-rua", checks };
  const agreed =
    report.kind === "dmarc"
      ? await agreedUris(report, usable, options, checks)
      : { uris: usable, temporary: null };
  // some have agreed, others cannot be asked now: these get a little time before the report is sent without them
  if (agreed.temporary !== null && agreed.uris.length > 0 && options.patient && !options.lastResort) {
    return { result: "wait", detail: agreed.temporary, checks };
  }
  const free = agreed.uris.filter((uri) => !isSuppressed(report, uri, options, checks));
  if (free.length > 0) {
    return {
      result: "send",
      uris: free,
      checks,
      note: agreed.temporary === null ? null : `temporary DNS error: ${agreed.temporary}`,
    };
  }
  if (agreed.temporary !== null && !options.lastResort)
    return { result: "wait", detail: agreed.temporary, checks };
  if (agreed.uris.length > 0) return { result: "drop", reason: "suppressed", checks };
  return { result: "drop", reason: agreed.temporary === null ? "unauthorised" : "dns", checks };
}

/** The URIs of the record as it is now. A TLS report keeps those of the record that it was counted under. */
async function publishedUris(
  report: OutgoingReport,
  policy: OutgoingPolicy,
  { resolver, lastResort, now }: DestinationOptions,
  checks: Check[],
): Promise<readonly string[] | Destinations> {
  const name =
    report.kind === "dmarc" ? `_dmarc.${report.policyDomain}` : `_smtp._tls.${report.policyDomain}`;
  const at =
    report.kind === "dmarc"
      ? await policyAt(resolver, report.policyDomain)
      : await tlsrptAt(resolver, report.policyDomain);
  if (at.found) {
    const counted =
      policy.kind === "tls" && policy.record !== null ? parseTlsrptRecord(policy.record) : undefined;
    const rua = counted ?? (typeof at.record === "string" ? ("rua" in at ? at.rua : []) : at.record.rua);
    checks.push({
      check: `record at ${name}`,
      ok: rua.length > 0,
      detail: rua.length > 0 ? `rua=${rua.join(",")}` : "no rua",
    });
    return rua;
  }
  if (at.failure === null) {
    checks.push({ check: `record at ${name}`, ok: false, detail: "there is none" });
    return { result: "drop", reason: "no-rua", checks };
  }
  checks.push({ check: `record at ${name}`, ok: false, detail: at.failure.detail });
  if (!lastResort) return { result: "wait", detail: at.failure.detail, checks };
  const seen = policy.kind === "dmarc" ? policy.rua : (parseTlsrptRecord(policy.record ?? "") ?? []);
  return seen.length > 0 && now - report.end < LAST_SEEN ? seen : { result: "drop", reason: "dns", checks };
}

async function agreedUris(
  report: OutgoingReport,
  usable: readonly ReportUri[],
  { resolver }: DestinationOptions,
  checks: Check[],
): Promise<{ readonly uris: readonly ReportUri[]; readonly temporary: string | null }> {
  const checked = await authorizeDestinations(resolver, report.policyDomain, usable);
  const uris = new Map<string, ReportUri>();
  let temporary: string | null = null;
  for (const { uri, verdict, detail, send } of checked) {
    checks.push({ check: `destination ${uri.uri}`, ok: send.length > 0, detail: `${verdict}: ${detail}` });
    if (verdict === "temporary") temporary ??= detail;
    for (const target of send) uris.set(target.uri, target);
  }
  return { uris: [...uris.values()], temporary };
}

function isSuppressed(
  report: OutgoingReport,
  uri: ReportUri,
  { store, now }: DestinationOptions,
  checks: Check[],
): boolean {
  const address = uri.scheme === "mailto" ? uri.address : uri.uri;
  for (const target of [address.toLowerCase(), `@${uri.host}`, report.policyDomain]) {
    const entry = store.suppression(target, now);
    if (!entry) continue;
    const until = entry.until === null ? "" : ` until ${iso(entry.until)}`;
    checks.push({ check: `suppression ${target}`, ok: false, detail: `${entry.reason}${until}` });
    return true;
  }
  return false;
}
