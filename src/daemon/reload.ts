/** Reload: everything that depends on the configuration is built first; then all of it is replaced, or nothing. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Found } from "../config/find.ts";
import { diffConfig, inForce } from "../config/reload.ts";
import type { Config } from "../config/schema.ts";
import { type ErrorCode, errorText, MailreportError } from "../lib/errors.ts";
import type { Log } from "../lib/log/log.ts";
import type { LogSink } from "../lib/log/pino.ts";
import { supervised } from "../lib/supervised.ts";
import type { ReloadAnswer } from "../services/daemon.ts";
import type { Parts } from "./parts.ts";
import { loadSigningKeys } from "./setup.ts";
import { passes, systemError } from "./system-error.ts";

export interface ReloadOptions {
  readonly parts: Parts;
  readonly sink: LogSink;
  /** Loads and checks the configuration. */
  readonly find: () => Found;
}

export class Reloader {
  readonly #options: ReloadOptions;
  readonly #log: Log;
  /** The files in force. */
  #files: ReadonlyMap<string, LoadedFile>;

  constructor(options: ReloadOptions) {
    this.#options = options;
    this.#log = options.sink.log;
    this.#files = loadedFiles(options.parts.config);
  }

  /**
   * Loads the configuration again. With any problem the old one stays in force as a whole, and the answer and the log
   * say why. Never rejects.
   * @param dryRun only report what would be applied
   */
  async reload(who: string, dryRun: boolean): Promise<ReloadAnswer> {
    const unit = { log: this.#log, unit: "reload", fields: { who } };
    const done = await supervised(unit, () => this.#reload(who, dryRun));
    if (done.ok) return done.value;
    const { code, message } = done.failure.error;
    return this.#refuse(who, [message], dryRun, code);
  }

  #reload(who: string, dryRun: boolean): ReloadAnswer {
    const { parts, find } = this.#options;
    const found = find();
    if (!found.ok) return this.#refuse(who, found.lines, dryRun);
    const change = diffConfig(parts.config, found.config);
    const config = inForce(parts.config, found.config);
    let swaps: readonly (() => void)[];
    try {
      swaps = this.#prepare(config, dryRun);
    } catch (thrown) {
      const error = fileError(thrown);
      if (!(error instanceof MailreportError)) throw error;
      return this.#refuse(who, [error.message], dryRun, error.code);
    }
    const files = loadedFiles(config);
    const applied = [...change.applied, ...changedFiles(this.#files, files)];
    if (!dryRun) {
      this.#files = files;
      for (const swap of swaps) swap();
      this.#log.info("daemon.reloaded", { who, applied, needs_restart: change.needsRestart });
    }
    return { ok: true, ...change, applied, problems: [] };
  }

  /** Builds what depends on the configuration, which may fail; the functions put it in place, and cannot fail. */
  #prepare(config: Config, dryRun: boolean): (() => void)[] {
    const { parts, sink } = this.#options;
    const { ingest, scheduler, delivery, jobs } = parts.made;
    const names = parts.need("names").prepare(config);
    const smtp = parts.need("smtp").prepare(config);
    const keys = loadSigningKeys(config, this.#log, dryRun ? "skip" : "generate");
    return [
      names,
      smtp,
      () => {
        parts.config = config;
        parts.keys = keys;
        ingest?.reload(config);
        sink.setLevel(config.log.level);
        scheduler?.wake();
        delivery?.wake();
        jobs?.wake();
      },
    ];
  }

  #refuse(
    who: string,
    problems: readonly string[],
    dryRun: boolean,
    code: ErrorCode = "config.invalid",
  ): ReloadAnswer {
    const answer = { ok: false, code, applied: [], needsRestart: [] };
    if (dryRun) return { ...answer, problems };
    this.#log.error("daemon.reload_refused", { who, problems });
    return { ...answer, problems: [...problems, "reload refused, still running the old configuration"] };
  }
}

/** A file named in the configuration of which the content is kept in memory. */
interface LoadedFile {
  readonly path: string;
  /** SHA-256 of the content; null when the file is not there yet: a key that is generated. */
  readonly hash: string | null;
}

/** The files that are read at start and at a reload, by their configuration keys. */
function loadedFiles({ smtp, dns, dkim }: Config): Map<string, LoadedFile> {
  const named: [key: string, path: string | undefined][] = [
    ["smtp.tls_certificate", smtp.tls_certificate],
    ["smtp.tls_key", smtp.tls_key],
    ["dns.zone_file", dns.zone_file],
    ...dkim.map(({ key_file }, i): [string, string] => [`dkim[${i}].key_file`, key_file]),
  ];
  return new Map(
    named.flatMap(([key, path]): [string, LoadedFile][] =>
      path === undefined ? [] : [[key, { path, hash: hashOf(path) }]],
    ),
  );
}

function hashOf(path: string): string | null {
  try {
    return createHash("sha256").update(readFileSync(path)).digest("hex");
  } catch {
    return null;
  }
}

/** Lines about files under the same path with another content. A key that was missing was generated at start. */
function changedFiles(
  before: ReadonlyMap<string, LoadedFile>,
  after: ReadonlyMap<string, LoadedFile>,
): string[] {
  return [...after].flatMap(([key, { path, hash }]) => {
    const old = before.get(key);
    const isSame = old?.path !== path || old.hash === null || old.hash === hash;
    return isSame ? [] : [`${key}: the content of ${path} has changed`];
  });
}

/**
 * The error of a file that changed after the check: it is gone, or OpenSSL refuses it; or of a full or failing disk
 * where a key was to be generated. Any other error as it is.
 */
function fileError(error: unknown): unknown {
  const ofDisk = systemError(error);
  if (passes(ofDisk)) return ofDisk;
  const { code, syscall } = (error ?? {}) as NodeJS.ErrnoException;
  const isOfFile = syscall !== undefined || code?.startsWith("ERR_OSSL") === true;
  if (error instanceof MailreportError || !isOfFile) return error;
  return new MailreportError("config.invalid", { detail: errorText(error), cause: error });
}
