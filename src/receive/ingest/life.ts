/**
 * Keeps an ingest process running. One that dies is replaced at once, or after a wait when it lived only for seconds and
 * no mail can be the reason (a mail that ends it is set aside after three tries); when the archive cannot be opened for now (disk
 * full, locked, not readable), it is tried again every second, and until then everybody is told why.
 */
import type { Config } from "../../config/schema.ts";
import type { Clock, Timer } from "../../lib/clock.ts";
import { errorText, MailreportError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log/log.ts";
import { failureOf, logFailure } from "../../lib/supervised.ts";
import type { DaemonEventSink } from "../../model/events.ts";
import { receivePolicy } from "../policy.ts";
import { IngestDied, type IngestProcess, spawnIngest } from "./process.ts";
import type { Notice, Request } from "./protocol.ts";

/** Opening the archive; a migration of its schema may take longer. */
const OPEN_LIMIT_MS = 60_000;
const RETRY_MS = 1000;
/** A process that lived this long ends the series of those that died soon. */
const LONG_LIFE_MS = 10_000;
/** The wait after a short life; it doubles with each one in a row. */
const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 30_000;

/** Errors of opening that may pass by themselves. */
const PASSING = new Set<MailreportError["code"]>([
  "store.full",
  "store.busy",
  "store.io",
  "ingest.unavailable",
]);

export interface LifeOptions {
  readonly config: () => Config;
  /** Whether a process that starts may parse spooled mail. */
  readonly parsing: () => boolean;
  /** How long a process that works may be silent before it counts as hung. */
  readonly silenceMs: () => number;
  /** Path of archive.db. */
  readonly archive: string;
  readonly log: Log;
  readonly events: DaemonEventSink;
  readonly clock: Clock;
  /** The program of the process; default: the built one. */
  readonly program?: string;
  readonly onNotice: (notice: Notice) => void;
  /** A process runs. */
  readonly onRunning: () => void;
  /** The archive cannot be opened for now. */
  readonly onTrouble: (error: MailreportError) => void;
}

export class IngestLife {
  readonly #options: LifeOptions;
  #process: IngestProcess | undefined;
  #starting: Promise<IngestProcess> | undefined;
  /** Opens the archive now. */
  #opening: IngestProcess | undefined;
  #trouble: MailreportError | undefined;
  #retry: Timer | undefined;
  /** Ends the wait before a launch. */
  #endWait: (() => void) | undefined;
  /** Processes in a row that lived only for seconds; the present one may end the series. */
  #shortLives = 0;
  #longLife: Timer | undefined;
  #stopping = false;
  restarts = 0;

  constructor(options: LifeOptions) {
    this.#options = options;
  }

  get process(): IngestProcess | undefined {
    return this.#process;
  }

  /** Why there is no process; undefined while one runs or starts for the first time. */
  get trouble(): MailreportError | undefined {
    return this.#trouble;
  }

  /** Errors: `store.*` that do not pass by themselves: the archive is damaged, or of a newer version. */
  async start(): Promise<void> {
    try {
      await this.running();
    } catch (thrown) {
      const { error } = failureOf(thrown);
      if (!PASSING.has(error.code)) throw error;
    }
  }

  /** The process, when it runs. Errors: why there is none. */
  running(): Promise<IngestProcess> {
    if (this.#process) return Promise.resolve(this.#process);
    if (this.#starting) return this.#starting;
    if (this.#stopping) return Promise.reject(new MailreportError("daemon.stopping"));
    if (this.#trouble) return Promise.reject(this.#trouble);
    return this.#begin();
  }

  /** @param waitMs how long to wait before; mail waits meanwhile */
  #begin(waitMs = 0): Promise<IngestProcess> {
    const launch = waitMs === 0 ? this.#launch() : this.#wait(waitMs).then(() => this.#launch());
    this.#starting = launch.then(
      (launched) => {
        this.#starting = undefined;
        this.#trouble = undefined;
        this.#options.onRunning();
        return launched;
      },
      (thrown) => {
        this.#starting = undefined;
        this.#failed(thrown);
        throw thrown;
      },
    );
    return this.#starting;
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#endWait = resolve;
      this.#retry = this.#options.clock.after(ms, resolve);
    });
  }

  async #launch(): Promise<IngestProcess> {
    if (this.#stopping) throw new MailreportError("daemon.stopping");
    const { clock, program, archive, log, events, config, parsing, silenceMs, onNotice } = this.#options;
    const launched: IngestProcess = spawnIngest({
      clock,
      memory: config().limits.ingest_memory,
      silenceMs,
      onNotice: (notice) => {
        if (notice.notice === "migrating") {
          const { from, to } = notice;
          log.info("store.migrating", { path: archive, from, to });
        } else onNotice(notice);
      },
      onError: (error) => logFailure({ log, unit: "ingest" }, failureOf(error)),
      onEnded: (died) => this.#died(launched, died),
      ...(program === undefined ? {} : { program }),
    });
    const open: Request = {
      op: "open",
      path: archive,
      limits: config().limits,
      policy: receivePolicy(config()),
      parsing: parsing(),
    };
    this.#opening = launched;
    try {
      await launched.ask(open, [], OPEN_LIMIT_MS);
      if (this.#stopping) throw new MailreportError("daemon.stopping");
    } catch (error) {
      launched.kill("died");
      if (this.#stopping) throw new MailreportError("daemon.stopping", { cause: error });
      if (error instanceof IngestDied) throw new MailreportError("ingest.unavailable", { cause: error });
      throw error;
    } finally {
      this.#opening = undefined;
    }
    this.#process = launched;
    const started = (): void => events.emit("ingest.started", { pid: launched.pid });
    if (this.#shortLives === 0) started();
    this.#longLife = clock.after(LONG_LIFE_MS, () => {
      if (this.#shortLives > 0) started();
      this.#shortLives = 0;
      this.#longLife = undefined;
    });
    return launched;
  }

  #failed(thrown: unknown): void {
    if (this.#stopping) return;
    const { error } = failureOf(thrown);
    if (this.#trouble?.code !== error.code)
      this.#options.events.emit("store.problem", {
        level: "error",
        what: "archive",
        code: error.code,
        error: errorText(error),
      });
    this.#trouble = error;
    this.#options.onTrouble(error);
    this.#retry = this.#options.clock.after(RETRY_MS, () => {
      if (!this.#stopping) this.#restart();
    });
  }

  /** A failure is handled by `#failed`. */
  #restart(waitMs = 0): void {
    this.#begin(waitMs).catch(() => undefined);
  }

  #died(launched: IngestProcess, died: IngestDied): void {
    if (this.#process !== launched) return; // it could not open the archive
    this.#process = undefined;
    const short = this.#longLife !== undefined;
    this.#longLife?.cancel();
    this.#longLife = undefined;
    if (this.#stopping) return;
    this.restarts++;
    const ofMail = died.during === "intake" || died.during === "spool";
    if (short && !ofMail) this.#shortLives++;
    this.#logDeath(launched.pid, died);
    if (!short || ofMail) this.#restart();
    else this.#restart(Math.min(FIRST_WAIT_MS * 2 ** (this.#shortLives - 1), LONGEST_WAIT_MS));
  }

  /** A series of short lives is logged when it begins; its end is logged as a start. */
  #logDeath(pid: number, { why, during }: IngestDied): void {
    const { events } = this.#options;
    const process = { pid, why, during };
    if (this.#shortLives < 2) events.emit("ingest.died", process);
    if (this.#shortLives !== 2) return;
    const error = "the ingest process ends again and again; it is started after waits of up to 30 s";
    const fields = { what: "archive", code: "ingest.unavailable", error, process } as const;
    events.emit("store.problem", { level: "error", ...fields });
  }

  /** Closes the archive and ends the process. One that opens or migrates it is killed: that is rolled back. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#retry?.cancel();
    this.#endWait?.();
    this.#longLife?.cancel();
    this.#opening?.kill("died");
    await this.#starting?.catch(() => undefined);
    const process = this.#process;
    if (!process) return;
    try {
      await process.ask({ op: "close" }, [], 10_000);
    } catch (error) {
      const { code } = failureOf(error).error;
      const fields = { what: "archive", code, error: errorText(error) };
      this.#options.events.emit("store.problem", { level: "warn", ...fields });
    }
    process.kill("died");
    await process.ended;
  }
}
