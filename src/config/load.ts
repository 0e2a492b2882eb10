/** Reads mailreportd.conf: TOML, every mistake at once with its place, defaults that depend on the host filled in. */
import { readFileSync, statSync } from "node:fs";
import { dirname, isAbsolute, resolve } from "node:path";
import { parseTOML } from "toml-eslint-parser";
import type { z } from "zod";
import { errorText } from "../lib/errors.ts";
import { CONTROL_SOCKET, RUNTIME_DIRECTORY } from "../lib/paths.ts";
import { nearest } from "../lib/text.ts";
import { isWithin, normalizeDomain, parseAddress } from "../model/domain-name.ts";
import { plainValue, positionsOf, type SourcePosition } from "./positions.ts";
import { type Config, configSchema, type RawConfig } from "./schema.ts";

export interface Environment {
  /** The system's host name. */
  readonly hostname: string;
  /** Working directory, for the try-out. */
  readonly directory: string;
  /** Where the package lies. */
  readonly packageRoot: string;
}

export interface Problem {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  /** Dotted path of the key; "" for the file as a whole. */
  readonly path: string;
  readonly what: string;
}

export type Loaded =
  | { readonly ok: true; readonly config: Config }
  | { readonly ok: false; readonly problems: readonly Problem[] };

/** `file:line:column: path: what` */
export function formatProblem({ file, line, column, path, what }: Problem): string {
  return `${file}:${line}:${column}: ${path === "" ? "" : `${path}: `}${what}`;
}

interface Overrides {
  /** Directory that relative paths start from; default: the file's. */
  readonly base?: string;
  readonly zoneFile?: string;
}

/** Reads and checks the file. Never throws for its content. */
export function loadConfig(file: string, environment: Environment, overrides: Overrides = {}): Loaded {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    return { ok: false, problems: [{ file, line: 1, column: 1, path: "", what: errorText(error) }] };
  }
  let ast: ReturnType<typeof parseTOML>;
  try {
    ast = parseTOML(text);
  } catch (error) {
    const at = error as { lineNumber?: number; column?: number };
    const problem = {
      file,
      line: at.lineNumber ?? 1,
      column: (at.column ?? 0) + 1,
      path: "",
      what: errorText(error),
    };
    return { ok: false, problems: [problem] };
  }
  const positions = positionsOf(ast);
  const problems: Problem[] = [];
  const report = (path: readonly PropertyKey[], what: string): void => {
    const { line, column } = positionOf(positions, path);
    problems.push({ file, line, column, path: dotted(path), what });
  };
  const parsed = configSchema.safeParse(plainValue(ast));
  if (!parsed.success) {
    for (const issue of parsed.error.issues) describe(issue, report);
    return { ok: false, problems: inOrder(problems) };
  }
  const config = effective(parsed.data, file, environment, overrides);
  checkMeaning(config, report);
  return problems.length > 0
    ? { ok: false, problems: inOrder(problems) }
    : { ok: true, config: deepFreeze(config) };
}

function inOrder(problems: Problem[]): Problem[] {
  return problems.sort((a, b) => a.line - b.line || a.column - b.column);
}

function dotted(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, key) => {
    if (typeof key === "number") return `${text}[${key}]`;
    return text === "" ? String(key) : `${text}.${String(key)}`;
  }, "");
}

/** The place of a key, else of what holds it. */
function positionOf(
  positions: ReadonlyMap<string, SourcePosition>,
  path: readonly PropertyKey[],
): SourcePosition {
  for (let n = path.length; n > 0; n--) {
    const place = positions.get(dotted(path.slice(0, n)));
    if (place) return place;
  }
  return { line: 1, column: 1 };
}

type Report = (path: readonly PropertyKey[], what: string) => void;

function describe(issue: z.core.$ZodIssue, report: Report): void {
  if (issue.code === "unrecognized_keys") {
    for (const key of issue.keys) {
      const near = nearest(key, keysAt(issue.path));
      report([...issue.path, key], `unknown key${near === undefined ? "" : `; did you mean "${near}"?`}`);
    }
    return;
  }
  if (issue.code === "invalid_union") {
    report(issue.path, "has the wrong type");
    return;
  }
  report(issue.path, issue.message.replace(/^Invalid (?:input|option|string): /, ""));
}

/** The keys that the schema knows at a path. */
function keysAt(path: readonly PropertyKey[]): string[] {
  let schema: unknown = configSchema;
  for (const key of path) {
    schema = unwrap(schema);
    const shape = (schema as { shape?: Record<string, unknown> }).shape;
    schema = typeof key === "number" ? (schema as { element?: unknown }).element : shape?.[String(key)];
  }
  return Object.keys((unwrap(schema) as { shape?: object }).shape ?? {});
}

/** The schema inside defaults and options. */
export function unwrap(schema: unknown): unknown {
  let inner = schema;
  for (;;) {
    const definition = (inner as { def?: { innerType?: unknown; in?: unknown } } | undefined)?.def;
    const next = definition?.innerType ?? definition?.in;
    if (next === undefined) return inner;
    inner = next;
  }
}

/** Fills in what depends on the host and makes paths absolute. */
function effective(raw: RawConfig, file: string, environment: Environment, overrides: Overrides): Config {
  const base = overrides.base ?? dirname(resolve(file));
  const state = resolve(base, raw.state_directory);
  const runtime =
    raw.runtime_directory !== undefined
      ? resolve(base, raw.runtime_directory)
      : isAbsolute(raw.state_directory)
        ? RUNTIME_DIRECTORY
        : state;
  const inState = (path: string): string => resolve(state, path);
  const inRuntime = (path: string): string => resolve(runtime, path);
  const inBase = (path: string | undefined): string | undefined =>
    path === undefined ? undefined : resolve(base, path);
  const listen = (address: string): string => (/^\.{0,2}\//.test(address) ? inRuntime(address) : address);
  const hostname = normalizeDomain(raw.hostname ?? environment.hostname) ?? "localhost";
  const dot = hostname.indexOf(".");
  const domain =
    normalizeDomain(raw.report.domain ?? (dot > 0 ? hostname.slice(dot + 1) : hostname)) ?? hostname;
  const zoneFile = overrides.zoneFile ?? inBase(raw.dns.zone_file);
  return {
    ...raw,
    file: resolve(file),
    hostname,
    state_directory: state,
    runtime_directory: runtime,
    log: { ...raw.log, ...(raw.log.file === undefined ? {} : { file: resolve(base, raw.log.file) }) },
    smtp: {
      ...raw.smtp,
      listen: raw.smtp.listen.map(listen),
      banner: raw.smtp.banner ?? hostname,
      tls_certificate: inBase(raw.smtp.tls_certificate),
      tls_key: inBase(raw.smtp.tls_key),
    },
    lmtp: { ...raw.lmtp, listen: raw.lmtp.listen.map(listen) },
    receive: { ...raw.receive, domains: raw.receive.domains.map((d) => normalizeDomain(d) ?? d) },
    report: {
      ...raw.report,
      domain,
      submitter: normalizeDomain(raw.report.submitter ?? hostname) ?? hostname,
      org_name: raw.report.org_name ?? domain,
      from: raw.report.from ?? `noreply-reports@${domain}`,
    },
    dkim: raw.dkim.map((key) => ({
      ...key,
      domain: normalizeDomain(key.domain ?? domain) ?? domain,
      key_file: inState(key.key_file),
    })),
    deliver: {
      ...raw.deliver,
      hostname: raw.deliver.hostname ?? hostname,
      relay_password_file: inBase(raw.deliver.relay_password_file),
    },
    dns: { ...raw.dns, ...(zoneFile === undefined ? {} : { zone_file: zoneFile }) },
    control: { ...raw.control, socket: inRuntime(raw.control.socket ?? CONTROL_SOCKET) },
    feed: raw.feed.map((feed) => ({ ...feed, socket: inRuntime(feed.socket) })),
  } as Config;
}

/** BSD's sun_path; longer paths are cut without a word. */
const LONGEST_SOCKET_PATH = 103;

/** What single values cannot tell. */
function checkMeaning(config: Config, report: Report): void {
  const { smtp, deliver } = config;
  if ((smtp.tls_certificate === undefined) !== (smtp.tls_key === undefined)) {
    report(
      ["smtp", smtp.tls_key === undefined ? "tls_certificate" : "tls_key"],
      "tls_certificate and tls_key belong together",
    );
  }
  const { receive } = config;
  const believes = receive.verify || receive.authserv_ids.length > 0;
  if (!believes && Object.values(receive.require_auth).includes("reject")) {
    report(
      ["receive", "require_auth"],
      '"reject" needs verify = true or authserv_ids: nothing would be taken',
    );
  }
  readable(["smtp", "tls_certificate"], smtp.tls_certificate, report);
  secret(["smtp", "tls_key"], smtp.tls_key, true, report);
  secret(["deliver", "relay_password_file"], deliver.relay_password_file, true, report);
  for (const [i, key] of config.dkim.entries()) {
    secret(["dkim", i, "key_file"], key.key_file, key.generate === "no", report);
    if (!isWithin(config.report.domain, key.domain!)) {
      report(["dkim", i, "domain"], `is neither report.domain (${config.report.domain}) nor a parent of it`);
    }
  }
  if ((deliver.relay_user === undefined) !== (deliver.relay_password_file === undefined)) {
    report(
      ["deliver", deliver.relay_user === undefined ? "relay_password_file" : "relay_user"],
      "relay_user and relay_password_file belong together",
    );
  }
  const from = parseAddress(config.report.from);
  if (!from) report(["report", "from"], "not an address");
  else if (!isWithin(from.domain, config.report.domain)) {
    report(
      ["report", "from"],
      `is not in report.domain (${config.report.domain}): the reports would fail DMARC`,
    );
  }
  const copy = config.report.copy_to;
  if (copy !== undefined && !parseAddress(copy)) report(["report", "copy_to"], "not an address");
  socketPath(["control", "socket"], config.control.socket, report);
  unique(config.feed, "feed", "name", report);
  unique(config.feed, "feed", "socket", report);
  unique(config.recipient, "recipient", "address", report);
  for (const [i, feed] of config.feed.entries()) socketPath(["feed", i, "socket"], feed.socket, report);
}

function unique<T>(items: readonly T[], list: string, key: keyof T & string, report: Report): void {
  const seen = new Set<unknown>();
  for (const [i, item] of items.entries()) {
    const value = String(item[key]).toLowerCase();
    if (seen.has(value)) report([list, i, key], `"${value}" is there twice`);
    seen.add(value);
  }
}

function socketPath(path: readonly PropertyKey[], value: string, report: Report): void {
  if (Buffer.byteLength(value) > LONGEST_SOCKET_PATH) {
    report(path, `the path is longer than ${LONGEST_SOCKET_PATH} bytes: ${value}`);
  }
}

function readable(path: readonly PropertyKey[], file: string | undefined, report: Report): void {
  if (file === undefined) return;
  try {
    statSync(file);
  } catch (error) {
    report(path, errorText(error));
  }
}

/** A file that others can read holds no secret. */
function secret(
  path: readonly PropertyKey[],
  file: string | undefined,
  needed: boolean,
  report: Report,
): void {
  if (file === undefined) return;
  const stat = statSync(file, { throwIfNoEntry: false });
  if (!stat) {
    if (needed) report(path, `${file}: no such file`);
  } else if ((stat.mode & 0o007) !== 0) report(path, `${file} can be read by others; chmod 0640 or less`);
}

function deepFreeze<T>(value: T): T {
  if (typeof value === "object" && value !== null)
    for (const inner of Object.values(value)) deepFreeze(inner);
  return Object.freeze(value);
}
