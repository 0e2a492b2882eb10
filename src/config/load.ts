/** Loads mailreportd.conf: TOML, all mistakes at once with their place, defaults that depend on the host filled in. */
import { readFileSync } from "node:fs";
import { dirname, isAbsolute, resolve } from "node:path";
import { parseTOML } from "toml-eslint-parser";
import type { z } from "zod";
import { errorText } from "../lib/errors.ts";
import { CONTROL_SOCKET, RUNTIME_DIRECTORY } from "../lib/paths.ts";
import { nearest } from "../lib/text.ts";
import { normalizeDomain } from "../model/domain-name.ts";
import { deepFreeze } from "./freeze.ts";
import { checkMeaning, type Report } from "./meaning.ts";
import { plainValue, positionsOf, type SourcePosition } from "./positions.ts";
import { type Config, configSchema, type RawConfig } from "./schema.ts";
import { keysAt } from "./shape.ts";

export interface Environment {
  /** The system's host name. */
  readonly hostname: string;
  /** Working directory, for the try-out. */
  readonly directory: string;
  /** The directory of the package. */
  readonly packageRoot: string;
  /** Checks what the configuration needs of this machine: files, directories, groups, addresses. Default: nothing. */
  readonly checkMachine?: (config: Config, report: Report) => void;
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

/** Loads and checks the file. Never throws for its content. */
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
  environment.checkMachine?.(config, report);
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

/** The place of a key, else of the table that it belongs to. */
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
