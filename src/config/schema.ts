/**
 * Every key of mailreportd.conf, once: type, default, limits and the text that the example and the manual show.
 * Keys once published stay.
 */
import { isIP } from "node:net";
import { z } from "zod";
import { parseDuration, parseSize } from "../lib/units.ts";
import { REPORT_KINDS, type ReportKind } from "../model/report.ts";

/** Keys that are used at start only: a reload says that a restart is needed, and keeps the old value in force. */
export const NEEDS_RESTART = z.registry<{ readonly why: string }>();

/** The unit in which a number of the configuration is written. */
export const UNITS = z.registry<{ readonly unit: "size" | "duration" }>();

/** "25M" or a number of bytes → bytes. */
const size = (fallback: string, min = 0) =>
  z
    .union([z.string(), z.number()])
    .default(fallback)
    .transform((value, context) => {
      const bytes = typeof value === "number" ? value : parseSize(value);
      if (bytes === undefined || !Number.isSafeInteger(bytes) || bytes < min) {
        context.addIssue({ code: "custom", message: `not a size of at least ${min} bytes (e.g. "25M")` });
        return z.NEVER;
      }
      return bytes;
    })
    .register(UNITS, { unit: "size" });

/** "90s", "1h30m", "0" → milliseconds. */
const duration = (fallback: string, minMs = 0) =>
  z
    .string()
    .default(fallback)
    .transform((value, context) => {
      const ms = parseDuration(value);
      if (ms === undefined || ms < minMs) {
        context.addIssue({ code: "custom", message: 'not a duration (e.g. "90s", "1h30m", "14d")' });
        return z.NEVER;
      }
      return ms;
    })
    .register(UNITS, { unit: "duration" });

const count = (fallback: number, min: number, max: number) => z.int().min(min).max(max).default(fallback);

const NO_PORT = "the port is not a number from 0 to 65535";

/** True unless the text ends in a port that does not exist. */
function hasPort(text: string): boolean {
  const port = text.startsWith("/") ? undefined : /:(\d+)$/.exec(text)?.[1];
  return port === undefined || Number(port) <= 65_535;
}

/** host:port, [v6]:port, or a path that begins with / or ./ (a Unix socket). */
const listenAddress = z
  .string()
  .regex(
    /^(\[[0-9a-fA-F:.]+\]:\d{1,5}|[^[\]:/\s]*:\d{1,5}|\.{0,2}\/.{1,100})$/,
    'not "host:port" or a socket path',
  )
  .refine(hasPort, NO_PORT);

/** "192.0.2.1", "192.0.2.1:53", "2001:db8::1" or "[2001:db8::1]:53". */
const nameServer = z.string().refine((text) => {
  if (isIP(text) !== 0) return true;
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+))(?::(\d{1,5}))?$/.exec(text);
  const port = Number(match?.[3] ?? 53);
  return isIP(match?.[1] ?? match?.[2] ?? "") !== 0 && port > 0 && port <= 65_535;
}, 'not the address of a name server (e.g. "192.0.2.53" or "192.0.2.53:53")');

const domainName = z
  .string()
  .max(253)
  .regex(/^(?=.)[\p{L}\p{N}_-]{1,63}(\.[\p{L}\p{N}_-]{1,63})*\.?$/u, "not a domain name");

const log = z.strictObject({
  level: z.enum(["debug", "info", "warn", "error"]).default("info").describe("Lowest level that is written."),
  file: z
    .string()
    .min(1)
    .optional()
    .describe("Write to this file in place of standard output (reopened on SIGUSR1).")
    .register(NEEDS_RESTART, { why: "the log is opened at start" }),
});

const network = z.string().refine((text) => {
  const [address, bits, more] = text.split("/");
  const most = isIP(address!) === 6 ? 128 : 32;
  const hasBits = bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= most);
  return isIP(address!) !== 0 && hasBits && more === undefined;
}, 'not an address or a network (e.g. "192.0.2.0/24")');

const listener = {
  max_message_size: size("25M", 65_536).describe("Largest mail; announced as SIZE."),
  max_recipients: count(100, 1, 1000).describe("Recipients of one mail (RFC 5321 asks for 100)."),
  max_connections: count(1000, 1, 10_000).describe(
    "Concurrent sessions; at the maximum, the session that has been idle longest is closed.",
  ),
  max_connections_per_address: count(20, 1, 10_000).describe(
    "Concurrent sessions of one IPv4 address or IPv6 /64.",
  ),
  connections_per_minute: count(120, 1, 100_000).describe("New sessions of one address per minute."),
  messages_per_minute: count(600, 1, 1_000_000).describe(
    "Mails of one address per minute; further ones get 451 4.7.1.",
  ),
  command_timeout: duration("5m", 1000).describe(
    "Longest wait for a command (RFC 5321 4.5.3.2.7: 5 minutes).",
  ),
  data_timeout: duration("3m", 1000).describe("Longest silence while a mail is being sent."),
  session_timeout: duration("10m", 1000).describe("Longest session without an accepted mail."),
  min_data_rate: count(500, 0, 1_000_000).describe(
    "Bytes per second that DATA must average after 30 seconds.",
  ),
};

const smtp = z.strictObject({
  listen: z
    .array(listenAddress)
    .max(32)
    .default(["127.0.0.1:2525"])
    .describe("Addresses to listen on, or socket paths.")
    .register(NEEDS_RESTART, { why: "listeners are opened at start" }),
  banner: z.string().max(200).optional().describe("Host name in the greeting; default: hostname."),
  tls_certificate: z
    .string()
    .min(1)
    .optional()
    .describe("PEM certificate chain; with tls_key it switches STARTTLS on."),
  tls_key: z.string().min(1).optional().describe("PEM private key; must not be readable by others."),
  trusted_proxies: z
    .array(network)
    .max(1000)
    .default([])
    .describe(
      "Addresses and networks of load balancers whose connections begin with the PROXY protocol (v1 or v2), on all listeners.",
    ),
  ...listener,
});

const lmtp = z.strictObject({
  listen: z
    .array(listenAddress)
    .max(32)
    .default([])
    .describe("Addresses or socket paths to listen on for LMTP (RFC 2033).")
    .register(NEEDS_RESTART, { why: "listeners are opened at start" }),
});

const recipient = z.strictObject({
  address: z
    .string()
    .min(1)
    .max(320)
    .regex(
      /^([^@\s]+@[^@\s]+|@[^@\s]+|[^@\s]*\*(@[^@\s]+)?)$/,
      'not "user@domain", "@domain" or "prefix*@domain"',
    )
    .describe(
      '"user@domain" (also user+tag@domain), "@domain" (every address), "prefix*@domain" or "prefix*".',
    ),
  kinds: z
    .array(z.enum([...REPORT_KINDS, "any"]))
    .min(1)
    .max(6)
    .default(["any"])
    .describe("Kinds of reports accepted there."),
});

const limits = z.strictObject({
  mime_parts: count(200, 1, 10_000).describe("Parts of a mail."),
  mime_depth: count(20, 1, 100).describe("Nesting depth of multiparts."),
  rfc822_depth: count(4, 0, 20).describe("Nesting depth of forwarded messages."),
  archive_depth: count(3, 1, 10).describe("Nesting depth of containers (gzip, zip, tar)."),
  archive_entries: count(100, 1, 100_000).describe("Entries of one archive."),
  reports: count(1000, 1, 100_000).describe(
    "Reports of one mail, and parts that should have been one; the rest of the mail is not parsed.",
  ),
  gzip_members: count(100, 1, 10_000).describe("Members of one gzip stream."),
  header_size: size("256K", 4096).describe("Header block of one part."),
  header_fields: count(1000, 10, 100_000).describe("Fields of one header block."),
  decompressed_size: size("64M", 65_536).describe("All decompressed bytes of one mail."),
  decompression_ratio: count(500, 10, 100_000).describe(
    "Ratio of decompressed to compressed bytes, above 1 MiB.",
  ),
  xml_depth: count(32, 8, 1000).describe("Nesting depth of XML elements."),
  xml_attributes: count(200, 1, 10_000).describe("Attributes of one XML element."),
  records: count(200_000, 1, 10_000_000).describe("Records of one DMARC report."),
  json_depth: count(32, 4, 1000).describe("Nesting depth of JSON values."),
  json_size: size("20M", 4096).describe("One TLS report after decompression."),
  tls_policies: count(1000, 1, 100_000).describe("Policies of one TLS report."),
  tls_details: count(10_000, 1, 1_000_000).describe("Failure details of one TLS report."),
  field: size("4K", 64).describe("One text field; longer ones are cut."),
  comment: size("16K", 64).describe("One comment or extension; longer ones are cut."),
  sample_headers: size("64K", 0).describe("Kept header bytes of a failure sample."),
  sample_body: size("0", 0).describe("Kept body bytes of a failure sample; 0 keeps none."),
  read_timeout: duration("10s", 100).describe(
    "Longest time to parse one mail; then it is kept raw as failed.",
  ),
  ingest_memory: size("256M", 33_554_432)
    .describe("JavaScript heap of the ingest process, and of each of its two parser threads.")
    .register(NEEDS_RESTART, { why: "it is an argument of the ingest process" }),
  spool_threshold: size("256K", 4096).describe(
    "Larger mails are stored raw and acknowledged before they are parsed; so are smaller ones under load.",
  ),
});

const AUTH_WORDS = ["off", "flag", "reject"] as const;
type RequireAuth = Record<ReportKind, (typeof AUTH_WORDS)[number]>;

/** One word for all kinds, or a table of kinds; those not named are `flag`. */
const requireAuth = z
  .union([z.string(), z.record(z.string(), z.string())])
  .default("flag")
  .transform((value, context): RequireAuth => {
    const words =
      typeof value === "string" ? REPORT_KINDS.map((kind) => [kind, value]) : Object.entries(value);
    for (const [kind, word] of words) {
      const known = (REPORT_KINDS as readonly string[]).includes(kind!);
      if (known && (AUTH_WORDS as readonly string[]).includes(word!)) continue;
      const message = known
        ? `"${word}" is not "off", "flag" or "reject"`
        : `"${kind}" is no kind of report (${REPORT_KINDS.join(", ")})`;
      context.addIssue({ code: "custom", message });
      return z.NEVER;
    }
    const all = Object.fromEntries(REPORT_KINDS.map((kind) => [kind, "flag"]));
    return { ...all, ...Object.fromEntries(words) } as RequireAuth;
  });

const receive = z.strictObject({
  domains: z
    .array(domainName)
    .max(100_000)
    .default([])
    .describe(
      "Our policy domains; reports about others are flagged and left out of figures. Empty: all are ours.",
    ),
  verify: z
    .boolean()
    .default(true)
    .describe("Verify report mail (SPF, DKIM, alignment); this asks DNS. Imported files are not verified."),
  require_auth: requireAuth.describe(
    'Report mail that does not authenticate: "off" ignores it, "flag" shows it, "reject" answers 550 5.7.1 and keeps the mail for inspection only. One word, or by kind: { dmarc = "reject", tls = "flag", failure = "flag", arf = "flag", dsn = "off" }.',
  ),
  count_unverified: z
    .array(z.enum(REPORT_KINDS))
    .max(5)
    .default(["dmarc", "failure", "arf", "dsn"])
    .describe(
      "Kinds of which unauthenticated reports count in the figures too. TLS reports without a DKIM signature of the reporting domain must be ignored (RFC 8460 3).",
    ),
  authserv_ids: z
    .array(z.string().regex(/^[^\s;="()<>]{1,253}$/, "not an authserv-id"))
    .max(100)
    .default([])
    .describe(
      "authserv-ids of trusted upstream MTAs, of which the Authentication-Results (RFC 8601) are used. These MTAs must remove such fields from mail of others (RFC 8601 5). The fields are trusted only from the clients in authserv_peers.",
    ),
  authserv_peers: z
    .array(network)
    .max(1000)
    .default([])
    .describe(
      "Addresses and networks that these MTAs connect from, over SMTP and LMTP alike; no other is trusted, not even a loopback or private one. Clients of a Unix socket need no entry: the permissions of the socket say who they are.",
    ),
});

const retention = z.strictObject({
  raw: duration("30d").describe("Raw mails of which the reports were parsed."),
  failed: duration("90d").describe("Raw mails that could not be parsed."),
  records: duration("400d").describe("Records of reports, from the time when they were received."),
  feedback: duration("30d").describe("Failure and abuse reports and delivery status notifications."),
  mails: duration("400d").describe(
    "Mails and reports as lists show them, from the time when they were received; never shorter than the times above. The day sums of their reports stay.",
  ),
  sums: duration("3650d").describe(
    "Day sums, from their day, and the keys of reports by which a late copy is known as a duplicate; at least mails + 90d. A report that begins more than the difference of sums and mails, less a day, before it is received is kept and does not enter the figures.",
  ),
});

const domainWithPeriod = z.strictObject({
  domain: domainName.describe("Policy domain, exact."),
  interval: z
    .enum(["1h", "2h", "3h", "4h", "6h", "8h", "12h", "24h"])
    .describe("Period of its DMARC reports."),
});

const report = z.strictObject({
  domain: domainName.optional().describe("Domain we report as; default: the domain part of the host name."),
  submitter: domainName.optional().describe("Host that submits the reports; default: the host name."),
  org_name: z.string().min(1).max(200).optional().describe("Organisation name; default: the report domain."),
  contact_info: z
    .string()
    .min(1)
    .max(200)
    .optional()
    .describe("How to reach us (an address or URL), shown in reports."),
  from: z
    .string()
    .min(3)
    .max(254)
    .optional()
    .describe("Address reports come from; default: noreply-reports@domain."),
  dmarc: z.boolean().default(true).describe("Compose and send DMARC aggregate reports."),
  tls: z.boolean().default(true).describe("Compose and send TLS reports."),
  interval: z
    .enum(["1h", "2h", "3h", "4h", "6h", "8h", "12h", "24h"])
    .default("24h")
    .describe("Period of DMARC reports, on the UTC grid (TLS reports: always a day)."),
  intervals: z
    .array(domainWithPeriod)
    .max(10_000)
    .default([])
    .describe("Other periods for single policy domains."),
  settle: duration("5m").describe("Wait after the end of a period for late evaluations."),
  dmarc_jitter: duration("2h").describe("DMARC reports are spread over this window after the settle time."),
  tls_jitter: duration("4h").describe(
    "TLS reports are spread over this window (RFC 8460 4.1: up to four hours).",
  ),
  max_age: duration("7d", 3_600_000).describe("Older periods are dropped, not sent."),
  keep_dropped: duration("24h").describe(
    "Keep the rows of dropped and cancelled reports, so that `report undelete` can bring them back.",
  ),
  max_rows: count(10_000, 10, 1_000_000).describe(
    "Rows of one report; above, the smallest are merged, never lost.",
  ),
  max_message_size: size("10M", 65_536).describe("Larger reports are split into several messages."),
  profile: z
    .enum(["both", "rfc9990"])
    .default("both")
    .describe("XML that passes the schemas of RFC 9990 and RFC 7489, or all that RFC 9990 can say."),
  unsigned: z
    .boolean()
    .default(false)
    .describe("Send DMARC reports without a DKIM key too. TLS reports never are."),
  copy_to: z.string().min(3).max(254).optional().describe("Also send each report to this address."),
  skip_local: z.boolean().default(true).describe("Send no reports about the domains in receive.domains."),
  skip_spam_only: z
    .boolean()
    .default(true)
    .describe("Send no report when all mail was spam that passed DMARC."),
});

const dkim = z.strictObject({
  domain: domainName.optional().describe("d=; default: report.domain. Must be it or a parent."),
  selector: z
    .string()
    .regex(/^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$/i, "not a selector")
    .describe("s=."),
  key_file: z.string().min(1).describe("PEM private key, RSA (2048 bits or more) or Ed25519."),
  generate: z
    .enum(["no", "rsa", "ed25519"])
    .default("no")
    .describe("Generate a missing key file, and log the DNS record to publish."),
});

const deliver = z.strictObject({
  relay: z
    .string()
    .regex(/^(\[[0-9a-fA-F:.]+\]|[^[\]:/\s]+)(:\d{1,5})?$/, 'not "host" or "host:port"')
    .refine(hasPort, NO_PORT)
    .optional()
    .describe("Hand all mail to this server; default: deliver to the MX hosts ourselves."),
  relay_tls: z
    .enum(["none", "opportunistic", "required", "implicit"])
    .default("opportunistic")
    .describe("TLS with the relay."),
  relay_user: z.string().min(1).optional().describe("User for AUTH with the relay."),
  relay_password_file: z.string().min(1).optional().describe("File with the relay's password."),
  port: count(25, 1, 65_535).describe("Port of MX hosts."),
  hostname: domainName.optional().describe("Name in EHLO; default: hostname."),
  concurrency: count(10, 1, 1000).describe("Concurrent attempts."),
  concurrency_per_host: count(2, 1, 100).describe("Concurrent connections to one host."),
  retry: z
    .array(z.string())
    .min(1)
    .max(50)
    .default(["10m", "30m", "1h", "2h", "4h", "8h"])
    .transform((values, context) => {
      const result = values.map((v) => parseDuration(v));
      if (result.some((ms) => ms === undefined || ms < 1000)) {
        context.addIssue({ code: "custom", message: 'not a list of durations (e.g. ["10m", "1h"])' });
        return z.NEVER;
      }
      return result as number[];
    })
    .register(UNITS, { unit: "duration" })
    .describe("Waits between attempts; the last one repeats until the report expires."),
  expire: duration("24h", 60_000).describe("Give up after this time (RFC 8460 5.5: 24 hours)."),
  connect_timeout: duration("30s", 1000).describe("Connecting to a host."),
  attempt_timeout: duration("15m", 1000).describe("One attempt as a whole."),
  tls: z
    .enum(["none", "opportunistic", "required"])
    .default("opportunistic")
    .describe("TLS with MX hosts. DMARC reports never fall back to clear after a TLS failure."),
  plaintext_fallback: z
    .boolean()
    .default(false)
    .describe("Send DMARC reports in clear after TLS failed (TLS reports always do: RFC 8460 3)."),
  allow_private: z
    .boolean()
    .default(false)
    .describe("Deliver to loopback, link-local and private addresses found in DNS."),
  ip_family: z.enum(["any", "4", "6"]).default("any").describe("Address family to connect with."),
  keep_settled: duration("7d").describe(
    "Keep finished envelopes and their messages: as long, undelete brings removed ones back and requeue sends failed ones again.",
  ),
});

const dns = z.strictObject({
  servers: z
    .array(nameServer)
    .max(8)
    .default([])
    .describe('Resolvers as "address" or "address:port"; default: those of the system.'),
  timeout: duration("2s", 50).describe("Longest wait for one answer."),
  tries: count(2, 1, 10).describe("Tries per server."),
  zone_file: z
    .string()
    .min(1)
    .optional()
    .describe(
      "Local records that replace those of DNS, one 'name type data' per line (TXT, MX, A, AAAA, CNAME, PTR).",
    ),
  zone_only: z.boolean().default(false).describe("Answer from the zone file only; ask no name server."),
});

const control = z.strictObject({
  socket: z
    .string()
    .min(1)
    .max(103)
    .optional()
    .describe("Control socket, relative to runtime_directory; default: control.sock."),
  group: z
    .string()
    .min(1)
    .optional()
    .describe("Group that may use the control socket (mode 0660); default: the group of the process."),
});

const feed = z.strictObject({
  name: z
    .string()
    .regex(/^[a-z0-9][a-z0-9_-]{0,31}$/i, "not a name of letters, digits, - and _")
    .describe("Name of the feed; ids are unique within it."),
  type: z.enum(["ndjson"]).default("ndjson").describe("JSON lines on a Unix stream socket."),
  socket: z.string().min(1).max(103).describe("Path of the socket, relative to runtime_directory."),
  group: z
    .string()
    .min(1)
    .optional()
    .describe(
      "Group of the socket, of which the mail server is a member; default: the group of the process.",
    ),
  mode: z
    .enum(["0600", "0660", "0666"])
    .default("0660")
    .describe("Permissions of the socket: who may connect is who may write to it."),
});

/** A shorter time would be a mistake: a check reads all of both databases. */
const SHORTEST_CHECK_MS = 3_600_000;

const jobs = z.strictObject({
  database_check: duration("1d")
    .refine((ms) => ms === 0 || ms >= SHORTEST_CHECK_MS, "shorter than 1h, and not 0")
    .register(UNITS, { unit: "duration" })
    .describe("Time between two checks of the integrity of both databases; 0: never."),
});

export const configSchema = z.strictObject({
  hostname: domainName.optional().describe("Our host name; default: the system's."),
  state_directory: z
    .string()
    .min(1)
    .default("./var")
    .describe("Databases and keys, relative to this file.")
    .register(NEEDS_RESTART, { why: "the databases are opened at start" }),
  runtime_directory: z
    .string()
    .min(1)
    .optional()
    .describe(
      "Sockets; must be open (mode 0755) to those who use them. Default: /run/mailreportd, or the state directory when that is a relative path (a try-out).",
    )
    .register(NEEDS_RESTART, { why: "the sockets are opened at start" }),
  allow_root: z
    .boolean()
    .default(false)
    .describe("Run as root (containers); normally refused.")
    .register(NEEDS_RESTART, { why: "it is checked at start" }),
  log: log.prefault({}).describe("Where and how much is logged."),
  smtp: smtp.prefault({}).describe("The SMTP server for report mail."),
  lmtp: lmtp.prefault({}).describe("The same over LMTP, behind a trusted upstream MTA."),
  recipient: z
    .array(recipient)
    .max(10_000)
    .default([])
    .describe("Addresses of report mail; all others get 550 5.1.1."),
  receive: receive
    .prefault({})
    .describe("Which reports are about our domains, and how report mail is authenticated."),
  limits: limits.prefault({}).describe("Limits of the work and memory for one mail."),
  retention: retention.prefault({}).describe("How long received data is kept."),
  jobs: jobs.prefault({}).describe("Periodic work of the daemon (show jobs)."),
  report: report.prefault({}).describe("The reports that we send."),
  dkim: z.array(dkim).max(4).default([]).describe("Keys that sign what we send."),
  deliver: deliver.prefault({}).describe("How reports are delivered."),
  dns: dns.prefault({}).describe("Name resolution."),
  control: control
    .prefault({})
    .describe("The socket of mailreportctl.")
    .register(NEEDS_RESTART, { why: "the socket is opened at start" }),
  feed: z
    .array(feed)
    .max(32)
    .default([])
    .describe("Sources of evaluations and TLS sessions.")
    .register(NEEDS_RESTART, { why: "feed sockets are opened at start" }),
});

/** The configuration as written, with defaults. */
export type RawConfig = z.infer<typeof configSchema>;

/** The effective configuration: every path absolute, every default that depends on the host filled in, frozen. */
export type Config = Readonly<
  Omit<RawConfig, "hostname" | "runtime_directory" | "report" | "deliver" | "control" | "smtp"> & {
    readonly hostname: string;
    /** Absolute; where relative socket paths start. */
    readonly runtime_directory: string;
    /** Absolute path of the file; null in try-out mode without any. */
    readonly file: string | null;
    readonly smtp: RawConfig["smtp"] & { readonly banner: string };
    readonly report: RawConfig["report"] & {
      readonly domain: string;
      readonly submitter: string;
      readonly org_name: string;
      readonly from: string;
    };
    readonly deliver: RawConfig["deliver"] & { readonly hostname: string };
    readonly control: RawConfig["control"] & { readonly socket: string };
  }
>;

export type IngestLimits = RawConfig["limits"];
