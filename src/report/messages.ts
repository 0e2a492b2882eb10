/** Makes messages and envelopes out of an outgoing report; the same report gives the same bytes and ids. */
import { createHash, createHmac } from "node:crypto";
import type { Config } from "../config/schema.ts";
import type { ReportUri } from "../dns/uri.ts";
import { type ComposeInput, composeDocuments, composeMail } from "../format/compose/compose.ts";
import type { SigningKey } from "../format/mail/dkim-sign.ts";
import { parseAddress } from "../model/domain-name.ts";
import type { OutgoingPolicy, OutgoingReport, TallyRow } from "../model/outgoing.ts";
import type { NewMessage, QueueStore } from "../store/queue.ts";
import { reportIdOf } from "./periods.ts";

export interface OutboxOptions {
  readonly config: Config;
  readonly store: QueueStore;
  readonly secret: Uint8Array;
  readonly keys: readonly SigningKey[];
  readonly version: string;
}

export function composeInput(
  report: OutgoingReport,
  policy: OutgoingPolicy,
  rows: readonly TallyRow[],
  note: string | null,
  { config, secret, version }: OutboxOptions,
): ComposeInput {
  const { domain, submitter, org_name, from, contact_info, profile, max_message_size } = config.report;
  const late = report.lateEvents > 0 ? `${report.lateEvents} late events` : null;
  return {
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
    rows,
    note: [note, late].filter((text) => text !== null).join("; ") || null,
    profile,
    maxMessageSize: max_message_size,
    reportId: (part) => reportIdOf(report.kind, report.id, report, part, secret),
  };
}

/** One message a recipient: recipients do not see each other, and each has its own fate (RFC 9990 3.5). */
export function makeMessages(
  report: OutgoingReport,
  input: ComposeInput,
  uris: readonly ReportUri[],
  time: number,
  options: OutboxOptions,
): NewMessage[] {
  const { config, keys } = options;
  const copy = config.report.copy_to === undefined ? undefined : parseAddress(config.report.copy_to);
  const targets: ReportUri[] = copy
    ? [
        ...uris,
        {
          scheme: "mailto",
          uri: `mailto:${config.report.copy_to}`,
          address: `${copy.local}@${copy.domain}`,
          host: copy.domain,
        },
      ]
    : [...uris];
  return composeDocuments(input).flatMap((document) =>
    targets.map((uri, i): NewMessage => {
      const mail = composeMail(
        input,
        document,
        uri.scheme === "mailto" ? uri.address : config.report.from,
        i + 1,
        time,
        keys,
      );
      // an https destination is sent the compressed report itself (RFC 8460 5.4)
      const raw = uri.scheme === "mailto" ? mail.raw : document.body;
      const id = freeId(`${mail.messageId}|${uri.uri}|${report.id}`, options);
      const { head, sender } = {
        head: digest(`envelope|${id}|${uri.uri}`, options).slice(0, 8),
        sender: returnPath(id, options),
      };
      return {
        message: {
          id,
          kind: report.kind,
          outgoingId: report.id,
          policyDomain: report.policyDomain,
          reportId: document.reportId,
          messageId: mail.messageId,
          fileName: document.fileName,
          sender,
          size: raw.byteLength,
          createdAt: time,
        },
        raw,
        envelopes: [
          {
            id: id + head,
            rcpt: uri.scheme === "mailto" ? uri.address : uri.uri,
            transport: uri.scheme === "mailto" ? "smtp" : "https",
            destination: uri.host,
            nextAt: time,
            expiresAt: time + Math.floor(config.deliver.expire / 1000),
          },
        ],
      };
    }),
  );
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

/** The envelope sender of a message: bounces that come home name it, and nobody else can make one up. */
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

/** The message that a bounce to `address` is about; undefined when it is none of our return paths. */
export function messageOfReturnPath(address: string, secret: Uint8Array): string | undefined {
  const match = /\+([0-9a-f]{8})\.([0-9a-f]{8})@/i.exec(address);
  if (!match) return undefined;
  const id = match[1]!.toLowerCase();
  return token(id, secret) === match[2]!.toLowerCase() ? id : undefined;
}
