/** Reads mails and files in tests, keeping what the sink was given; and builds reports, mails and archives. */
import { crc32, deflateRawSync, gzipSync } from "node:zlib";
import { configSchema, type IngestLimits } from "../../src/config/schema.ts";
import { readMail } from "../../src/format/mail/read.ts";
import { mailOutcome } from "../../src/model/mail-outcome.ts";
import type { Outcome, Reason } from "../../src/model/outcome.ts";
import type { ItemReading, MailReading, ReadHints, ReportSink } from "../../src/model/reading.ts";
import type { DmarcHead, DmarcRecord, DsnReport, FeedbackReport, TlsHead } from "../../src/model/report.ts";

export const LIMITS: IngestLimits = configSchema.parse({}).limits;
/** 2026-11-20, epoch seconds. */
export const NOW = 1_795_132_800;

export interface Read {
  readonly outcome: Outcome;
  readonly reason: Reason | null;
  readonly detail: string | null;
  /** Report ids of the reports read, in order. */
  readonly ids: readonly (string | null)[];
  /** Warning codes of all reports, each once. */
  readonly warnings: readonly string[];
  /** Reasons of the parts that were refused. */
  readonly refused: readonly Reason[];
  readonly reading: MailReading;
  readonly heads: readonly (DmarcHead | TlsHead)[];
  readonly records: readonly DmarcRecord[];
  readonly whole: readonly (FeedbackReport | DsnReport)[];
  readonly hashes: readonly string[];
}

const bytesOf = (raw: Uint8Array | string): Uint8Array => (typeof raw === "string" ? Buffer.from(raw) : raw);

/** Reads `raw` with the default limits, or with some changed. */
export function read(
  raw: Uint8Array | string,
  hints: Partial<ReadHints> = {},
  limits: Partial<IngestLimits> = {},
): Read {
  const heads: (DmarcHead | TlsHead)[] = [];
  const records: DmarcRecord[] = [];
  const whole: (FeedbackReport | DsnReport)[] = [];
  const hashes: string[] = [];
  const sink: ReportSink = {
    open(head) {
      heads.push(head);
      return {
        record: (record) => void records.push(record),
        policy() {},
        close(_figures, hash) {
          hashes.push(hash);
        },
        abort: () => void heads.pop(),
      };
    },
    whole(report, _figures, hash) {
      whole.push(report);
      hashes.push(hash);
    },
  };
  const all: ReadHints = { form: "mail", fileName: null, receivedAt: NOW, ...hints };
  const reading = readMail(bytesOf(raw), all, { ...LIMITS, ...limits }, () => performance.now(), sink);
  const good = reading.items.filter((item) => item.ok);
  return {
    ...mailOutcome({
      ...reading,
      items: reading.items.map((item) => (item.ok ? { ...item, kept: "new" as const } : item)),
    }),
    ids: good.map((item) => item.figures.reportId),
    warnings: [...new Set(good.flatMap((item) => item.figures.warnings.map((w) => w.code)))],
    refused: reading.items
      .filter((item): item is Extract<ItemReading, { ok: false }> => !item.ok)
      .map((item) => item.reason),
    reading,
    heads,
    records,
    whole,
    hashes,
  };
}

/** Reads `raw` as a file of that name. */
export const readFile = (raw: Uint8Array | string, fileName: string | null = null): Read =>
  read(raw, { form: "file", fileName });

/** A valid DMARC report with one record. */
export function dmarcXml(id = "r1", domain = "example.com"): string {
  return `<?xml version="1.0"?><feedback><report_metadata><org_name>Reporter</org_name><email>d@reporter.example</email>\
<report_id>${id}</report_id><date_range><begin>1700006400</begin><end>1700092799</end></date_range></report_metadata>\
<policy_published><domain>${domain}</domain><p>none</p></policy_published><record><row><source_ip>192.0.2.1</source_ip>\
<count>2</count><policy_evaluated><disposition>none</disposition><dkim>pass</dkim><spf>fail</spf></policy_evaluated></row>\
<identifiers><header_from>${domain}</header_from></identifiers><auth_results><spf><domain>${domain}</domain>\
<result>fail</result></spf></auth_results></record></feedback>`;
}

/** A valid TLS report with one policy. */
export function tlsJson(id = "t1"): string {
  return JSON.stringify({
    "organization-name": "Reporter",
    "date-range": { "start-datetime": "2023-11-15T00:00:00Z", "end-datetime": "2023-11-15T23:59:59Z" },
    "contact-info": "t@reporter.example",
    "report-id": id,
    policies: [
      {
        policy: { "policy-type": "sts", "policy-string": ["version: STSv1"], "policy-domain": "example.com" },
        summary: { "total-successful-session-count": 3, "total-failure-session-count": 0 },
      },
    ],
  });
}

export interface PartSpec {
  readonly type?: string;
  readonly name?: string;
  readonly encoding?: string;
  readonly body: Uint8Array | string;
  /** Further header lines. */
  readonly header?: string;
}

/** One part: its header and its body in the transfer encoding of the header. */
export function part({ type, name, encoding, body, header }: PartSpec): Buffer {
  const lines: string[] = [];
  if (type !== undefined) lines.push(`Content-Type: ${type}`);
  if (name !== undefined) lines.push(`Content-Disposition: attachment; filename="${name}"`);
  if (encoding !== undefined) lines.push(`Content-Transfer-Encoding: ${encoding}`);
  if (header !== undefined) lines.push(header);
  const bytes = Buffer.from(bytesOf(body));
  const coded =
    encoding === "base64" ? Buffer.from(bytes.toString("base64").replace(/.{76}/g, "$&\r\n")) : bytes;
  return Buffer.concat([Buffer.from([...lines, "", ""].join("\r\n")), coded]);
}

const HEAD =
  "From: Reports <d@reporter.example>\r\nTo: dmarc@example.com\r\nDate: Thu, 16 Nov 2023 01:00:00 +0000\r\n";

/** A mail with one body. */
export const single = (spec: PartSpec, head = `${HEAD}Subject: report\r\n`): Buffer =>
  Buffer.concat([Buffer.from(head), part(spec)]);

/** A multipart mail. */
export function mail(
  parts: readonly (PartSpec | Uint8Array)[],
  { type = "multipart/mixed", head = `${HEAD}Subject: report\r\n`, boundary = "=_b", close = true } = {},
): Buffer {
  const bytes: Buffer[] = [
    Buffer.from(`${head}MIME-Version: 1.0\r\nContent-Type: ${type}; boundary="${boundary}"\r\n\r\n`),
  ];
  for (const each of parts) {
    const inner = each instanceof Uint8Array ? each : part(each);
    bytes.push(Buffer.from(`--${boundary}\r\n`), Buffer.from(inner), Buffer.from("\r\n"));
  }
  if (close) bytes.push(Buffer.from(`--${boundary}--\r\n`));
  return Buffer.concat(bytes);
}

export const gz = (content: Uint8Array | string): Buffer => gzipSync(bytesOf(content));

export interface ZipSpec {
  readonly name: string;
  readonly content: Uint8Array | string;
  readonly method?: number;
  readonly flags?: number;
  readonly crc?: number;
  /** The declared size, if it is to be wrong. */
  readonly declared?: number;
  /** The offset in the directory, if it is to be wrong. */
  readonly offset?: number;
}

/** A zip archive of these entries. */
export function zip(
  entries: readonly ZipSpec[],
  {
    comment = new Uint8Array(0),
    prefix = new Uint8Array(0),
  }: { comment?: Uint8Array; prefix?: Uint8Array } = {},
): Buffer {
  const files: Buffer[] = [];
  const directory: Buffer[] = [];
  let at = 0;
  for (const entry of entries) {
    const content = Buffer.from(bytesOf(entry.content));
    const method = entry.method ?? 8;
    const packed = method === 8 ? deflateRawSync(content) : content;
    const name = Buffer.from(entry.name);
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(entry.flags ?? 0, 2);
    common.writeUInt16LE(method, 4);
    common.writeUInt32LE(entry.crc ?? crc32(content), 10);
    common.writeUInt32LE(packed.length, 14);
    common.writeUInt32LE(entry.declared ?? content.length, 18);
    common.writeUInt16LE(name.length, 22);
    files.push(Buffer.from("PK\x03\x04"), common, name, packed);
    const central = Buffer.alloc(16);
    central.writeUInt32LE(entry.offset ?? at, 12);
    directory.push(Buffer.from("PK\x01\x02\x14\x00"), common, central.subarray(2), name);
    at += 30 + name.length + packed.length;
  }
  const listed = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write("PK\x05\x06", 0, "latin1");
  end.writeUInt16LE(entries.length, 8);
  end.writeUInt16LE(entries.length, 10);
  end.writeUInt32LE(listed.length, 12);
  end.writeUInt32LE(at, 16);
  end.writeUInt16LE(comment.length, 20);
  return Buffer.concat([prefix, ...files, listed, end, comment]);
}

/** A tar archive (ustar) of these files; `type` for other entries. */
export function tar(
  entries: readonly {
    readonly name: string;
    readonly content: Uint8Array | string;
    readonly type?: string;
  }[],
): Buffer {
  const blocks = entries.flatMap(({ name, content, type = "0" }) => {
    const bytes = Buffer.from(bytesOf(content));
    const header = Buffer.alloc(512);
    header.write(name.slice(0, 100), 0);
    header.write(`${bytes.length.toString(8).padStart(11, "0")} `, 124);
    header.write(type, 156);
    header.write("ustar\x0000", 257);
    return [header, bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)];
  });
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}
