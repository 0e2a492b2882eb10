/** Reload: everything that depends on the configuration is built first; then all of it is replaced, or nothing. */
import type { Found } from "../config/find.ts";
import { diffConfig, inForce } from "../config/reload.ts";
import type { Config } from "../config/schema.ts";
import type { ReloadAnswer } from "../control/services.ts";
import { errorText, MailreportError } from "../lib/errors.ts";
import type { Log } from "../lib/log/log.ts";
import type { LogSink } from "../lib/log/pino.ts";
import { supervised } from "../lib/supervised.ts";
import type { Parts } from "./parts.ts";
import { loadSigningKeys } from "./setup.ts";

export interface ReloadOptions {
  readonly parts: Parts;
  readonly sink: LogSink;
  /** Loads and checks the configuration. */
  readonly find: () => Found;
}

export class Reloader {
  readonly #options: ReloadOptions;
  readonly #log: Log;

  constructor(options: ReloadOptions) {
    this.#options = options;
    this.#log = options.sink.log;
  }

  /**
   * Loads the configuration again. With any problem the old one stays in force as a whole, and the answer and the log
   * say why. Never rejects.
   * @param dryRun only report what would be applied
   */
  async reload(who: string, dryRun: boolean): Promise<ReloadAnswer> {
    const unit = { log: this.#log, unit: "reload", fields: { who } };
    const done = await supervised(unit, () => this.#reload(who, dryRun));
    return done.ok ? done.value : this.#refuse(who, [done.failure.error.message], dryRun);
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
      return this.#refuse(who, [error.message], dryRun);
    }
    if (!dryRun) {
      for (const swap of swaps) swap();
      const { applied, needsRestart } = change;
      this.#log.info("daemon.reloaded", { who, applied, needs_restart: needsRestart });
    }
    return { ok: true, ...change, problems: [] };
  }

  /** Builds what depends on the configuration, which may fail; the functions put it in place, and cannot fail. */
  #prepare(config: Config, dryRun: boolean): (() => void)[] {
    const { parts, sink } = this.#options;
    const { ingest, scheduler, delivery } = parts.made;
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
      },
    ];
  }

  #refuse(who: string, problems: readonly string[], dryRun: boolean): ReloadAnswer {
    const answer = { ok: false, applied: [], needsRestart: [] };
    if (dryRun) return { ...answer, problems };
    this.#log.error("daemon.reload_refused", { who, problems });
    return { ...answer, problems: [...problems, "reload refused, still running the old configuration"] };
  }
}

/** The error of a file that changed after the check: it is gone, or OpenSSL refuses it. Any other error as it is. */
function fileError(error: unknown): unknown {
  const { code, syscall } = (error ?? {}) as NodeJS.ErrnoException;
  const isOfFile = syscall !== undefined || code?.startsWith("ERR_OSSL") === true;
  if (error instanceof MailreportError || !isOfFile) return error;
  return new MailreportError("config.invalid", { detail: errorText(error), cause: error });
}
