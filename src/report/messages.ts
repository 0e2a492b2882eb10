/** Makes messages and envelopes out of a composed report; the same report gives the same bytes and ids. */
import { createHash, createHmac } from "node:crypto";
import type { Config } from "../config/schema.ts";
import type { ReportUri } from "../dns/uri.ts";
import type { SigningKey } from "../format/mail/dkim-sign.ts";
import { parseAddress } from "../model/domain-name.ts";
import type { OutgoingPolicy, OutgoingReport } from "../model/outgoing.ts";
import type { NewMessage, QueueStore } from "../store/queue.ts";
import type { Composed, ComposeJob } from "./compose/job.ts";

export interface OutboxOptions {
  readonly config: Config;
  readonly store: QueueStore;
  readonly secret: Uint8Array;
  readonly keys: readonly SigningKey[];
  readonly version: string;
}

/** The given destinations, and the address that gets a copy of everything. */
export function withCopy(uris: readonly ReportUri[], { report }: Config): readonly ReportUri[] {
  const copy = report.copy_to === undefined ? undefined : parseAddress(report.copy_to);
  if (!copy) return uris;
  const address = `${copy.local}@${copy.domain}`;
  return [...uris, { scheme: "mailto", uri: `mailto:${report.copy_to}`, address, host: copy.domain }];
}

/** @param time epoch seconds of the composition */
export function composeJobOf(
  report: OutgoingReport,
  policy: OutgoingPolicy,
  uris: readonly ReportUri[],
  note: string | null,
  time: number,
  { config, secret, keys, version }: OutboxOptions,
): ComposeJob {
  const { domain, submitter, org_name, from, contact_info, profile, max_message_size } = config.report;
  const late = report.lateEvents > 0 ? `${report.lateEvents} late events` : null;
  return {
    outgoingId: report.id,
    kind: report.kind,
    identity: {
      domain,
      submitter,
      orgName: org_name,
      from,
      contactInfo: contact_info ?? null,
      generator: `mailreportd ${version}`,
    },
    policyDomain: report.policyDomain,
    begin: report.begin,
    end: report.end,
    policy,
    note: [note, late].filter((text) => text !== null).join("; ") || null,
    profile,
    maxMessageSize: max_message_size,
    secret,
    recipients: uris.map((uri) =>
      uri.scheme === "mailto" ? { to: uri.address, form: "mail" } : { to: from, form: "document" },
    ),
    time,
    keys,
  };
}

/** A message and its envelope for each composed mail. @param uris as in the job */
export function makeMessages(
  report: OutgoingReport,
  { mails }: Composed,
  uris: readonly ReportUri[],
  time: number,
  options: OutboxOptions,
): (NewMessage & { readonly raw: Uint8Array })[] {
  const expiresAt = time + Math.floor(options.config.deliver.expire / 1000);
  return mails.map(({ recipient, messageId, reportId, fileName, raw }) => {
    const uri = uris[recipient]!;
    const id = freeId(`${messageId}|${uri.uri}|${report.id}`, options);
    const envelope = id + digest(`envelope|${id}|${uri.uri}`, options).slice(0, 8);
    const rcpt = uri.scheme === "mailto" ? uri.address : uri.uri;
    const transport = uri.scheme === "mailto" ? "smtp" : "https";
    return {
      message: {
        id,
        kind: report.kind,
        outgoingId: report.id,
        policyDomain: report.policyDomain,
        reportId,
        messageId,
        fileName,
        sender: returnPath(id, options),
        size: raw.byteLength,
        createdAt: time,
      },
      raw,
      envelopes: [{ id: envelope, rcpt, transport, destination: uri.host, nextAt: time, expiresAt }],
    };
  });
}

function digest(text: string, { secret }: OutboxOptions): string {
  return createHash("sha256").update(text).update(secret).digest("hex");
}

/** Eight hex digits that no other message has. */
function freeId(text: string, options: OutboxOptions): string {
  for (let n = 0; ; n++) {
    const id = digest(`message|${text}|${n}`, options).slice(0, 8);
    if (id !== "00000000" && !options.store.message(id)) return id;
  }
}

/** The envelope sender of a message: bounces are sent to it and name the message; others cannot make one up. */
export function returnPath(
  messageId: string,
  { config, secret }: Pick<OutboxOptions, "config" | "secret">,
): string {
  const from = parseAddress(config.report.from)!;
  return `${from.local.slice(0, 40)}+${messageId}.${token(messageId, secret)}@${from.domain}`;
}

function token(messageId: string, secret: Uint8Array): string {
  return createHmac("sha256", secret).update(`return|${messageId}`).digest("hex").slice(0, 8);
}

/** The message that a bounce to `address` is about; undefined when that is none of our return paths. */
export function messageOfReturnPath(address: string, secret: Uint8Array): string | undefined {
  const match = /\+([0-9a-f]{8})\.([0-9a-f]{8})@/i.exec(address);
  if (!match) return undefined;
  const id = match[1]!.toLowerCase();
  return token(id, secret) === match[2]!.toLowerCase() ? id : undefined;
}
