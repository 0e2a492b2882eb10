/**
 * Hands mails to the ingest process as they come; each is answered when its own commit is done. When the process dies, the
 * unanswered ones are handed to the next one, one by one, and meanwhile nothing else is parsed: so the mail with which three
 * processes died is known, and stored raw with the reason. Senders only see a delay.
 */
import type { Config } from "../../config/schema.ts";
import type { Clock } from "../../lib/clock.ts";
import { errorText, MailreportError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log/log.ts";
import { failureOf, logFailure } from "../../lib/supervised.ts";
import type { DaemonEventSink } from "../../model/events.ts";
import type { Reason } from "../../model/outcome.ts";
import type { RetentionPolicy } from "../../model/retention.ts";
import type { Accepted, Intake, IntakeResult, NotStored } from "../../store/archive/intake.ts";
import type { ExpirySlice } from "../../store/archive/maintenance.ts";
import { receivePolicy, refusalBefore } from "../policy.ts";
import type { IngestPort } from "../port.ts";
import { Backlog } from "./backlog.ts";
import { IngestLife } from "./life.ts";
import { errorOf, IngestDied, type IngestProcess } from "./process.ts";
import type { IntakeHead, Notice, ParseWhen, Request } from "./protocol.ts";
import { ReportLog } from "./report-log.ts";

/** Mails that the process has and has not answered: the next commit is ready when one has ended. */
const WITH_PROCESS = 128;
/** Their bytes: the process holds them in memory. */
const WITH_PROCESS_BYTES = 8 << 20;
/** A mail with which this number of processes died is set aside. */
const MOST_TRIES = 3;
/** More waiting mail is refused with a temporary error. */
const WAITING_MAILS = 5000;
const WAITING_BYTES = 256 << 20;
/**
 * On top of the time that parsing a mail may take. The process itself ends a parser thread that hangs, after less, and says so
 * by the answer for the mail.
 */
const GRACE_MS = 10_000;
/** Maintenance and jobs over many mails say nothing before their end. */
const JOB_LIMIT_MS = 3_600_000;
/** Parsing spooled mail that fails this often in a row is said to fail, and nobody waits for it. */
const FAILING = 3;

interface Waiting {
  readonly intake: Intake;
  readonly when: ParseWhen;
  readonly resolve: (accepted: Accepted) => void;
  readonly reject: (error: Error) => void;
  /** How often a process died while it worked on this mail, alone or with others. */
  tries: number;
}

function headOf({ raw: _, ...head }: Intake): IntakeHead {
  return head;
}

export interface IngestOptions {
  readonly config: Config;
  /** Path of archive.db. */
  readonly archive: string;
  readonly log: Log;
  readonly events: DaemonEventSink;
  readonly clock: Clock;
  /** Called with what was parsed from spooled mail. */
  readonly onRead?: (result: IntakeResult) => void;
  /** Receives what stops the process, before the archive is opened, which may take long. */
  readonly onStarting?: (stop: () => Promise<void>) => void;
  /** The program of the process; default: the built one. */
  readonly program?: string;
}

export interface Ingest extends IngestPort {
  reload(config: Config): void;
}

/**
 * Starts the ingest process. When the archive cannot be opened for now (`store.full`, `store.busy`, `store.io`), it
 * resolves, `accept` rejects with that error, and opening is tried again every second.
 * Errors: other `store.*`; `daemon.stopping` when it was stopped meanwhile.
 */
export async function startIngest(options: IngestOptions): Promise<Ingest> {
  const supervisor = new Supervisor(options);
  options.onStarting?.(() => supervisor.stop());
  try {
    await supervisor.start();
  } catch (error) {
    await supervisor.stop();
    throw error;
  }
  return supervisor;
}

class Supervisor implements Ingest {
  readonly #options: IngestOptions;
  readonly #life: IngestLife;
  #config: Config;
  #queue: Waiting[] = [];
  #queuedBytes = 0;
  /** Mails with the process, and their bytes. */
  #outstanding = 0;
  #outstandingBytes = 0;
  /** Mails that the process had when it died: one of them may have been the reason. */
  #suspects: Waiting[] = [];
  #pumping = false;
  #paused = false;
  #stopping = false;
  /** Failures of parsing spooled mail in a row. */
  #failures = 0;
  readonly #backlog: Backlog;
  readonly #reportLog: ReportLog;
  readonly #count = { batches: 0, mails: 0, quarantined: 0 };

  constructor(options: IngestOptions) {
    const { archive, log, events, clock, program } = options;
    this.#options = options;
    this.#config = options.config;
    this.#backlog = new Backlog(clock);
    this.#reportLog = new ReportLog({ log, events });
    this.#life = new IngestLife({
      config: () => this.#config,
      // a process is replaced before the mails that it had are known to be suspects
      parsing: () => this.#mayParse && this.#outstanding === 0,
      silenceMs: () => this.#config.limits.read_timeout + GRACE_MS,
      archive,
      log,
      events,
      clock,
      ...(program === undefined ? {} : { program }),
      onNotice: (notice) => this.#noticed(notice),
      onRunning: () => this.#pump(),
      onTrouble: (error) => {
        this.#failQueue(error);
        this.#backlog.giveUp();
      },
    });
  }

  start(): Promise<void> {
    return this.#life.start();
  }

  #failQueue(error: Error): void {
    for (const { reject } of this.#queue.splice(0)) reject(error);
    this.#queuedBytes = 0;
  }

  #noticed(notice: Notice): void {
    const { log } = this.#options;
    if (notice.notice === "failed") {
      logFailure({ log, unit: notice.unit }, failureOf(errorOf(notice)));
    } else if (notice.notice === "spool") {
      this.#backlog.update(notice.spool);
    } else if (notice.notice === "parsed") {
      this.#failures = 0;
      for (const result of notice.results) {
        this.#reportLog.add("parse", result);
        this.#parsed(result);
      }
      this.#backlog.parsed(notice.results);
    } else if (notice.notice === "parse-failed") {
      // a full disk is the same news every second
      if (this.#failures === 0) logFailure({ log, unit: "parse" }, failureOf(errorOf(notice)));
      if (++this.#failures >= FAILING) this.#backlog.giveUp();
    }
  }

  /** What follows from a stored mail: its failure must not look as if the mail were not stored. */
  #parsed(result: IntakeResult): void {
    const { log, onRead } = this.#options;
    try {
      onRead?.(result);
    } catch (error) {
      logFailure({ log, unit: "parse", fields: { mail: `m${result.mailId}` } }, failureOf(error));
    }
  }

  /** While mails are handed over alone, nothing else is parsed. */
  get #mayParse(): boolean {
    return !this.#paused && this.#suspects.length === 0;
  }

  // ---- intake ----------------------------------------------------------------

  get waiting(): { readonly mails: number; readonly bytes: number } {
    return { mails: this.#queue.length, bytes: this.#queuedBytes };
  }

  get unparsed(): number {
    return this.#backlog.size;
  }

  get parsing(): "running" | "paused" | "failing" {
    if (this.#paused) return "paused";
    return this.#life.trouble || this.#failures >= FAILING ? "failing" : "running";
  }

  accept(intake: Intake): Promise<Accepted> {
    const large = intake.raw.byteLength > this.#config.limits.spool_threshold;
    // a mail that may have to be refused is parsed before it is answered, whatever its size
    const judged = refusalBefore(this.#config, intake.kinds, intake.auth) !== undefined;
    return this.#enqueue(intake, this.#paused ? "later" : judged ? "now" : large ? "later" : "soon");
  }

  async acceptAndParse(intake: Intake): Promise<IntakeResult> {
    const accepted = await this.#enqueue(intake, "now");
    if (accepted.spooled)
      throw new MailreportError("daemon.bug", { detail: "a mail to be parsed was spooled" });
    return accepted.result;
  }

  #enqueue(intake: Intake, when: ParseWhen): Promise<Accepted> {
    if (this.#stopping) return Promise.reject(new MailreportError("daemon.stopping"));
    const { trouble, process } = this.#life;
    if (trouble && !process) return Promise.reject(trouble);
    const bytes = this.#queuedBytes + intake.raw.byteLength;
    if (this.#queue.length >= WAITING_MAILS || (this.#queue.length > 0 && bytes > WAITING_BYTES)) {
      return Promise.reject(new MailreportError("ingest.busy"));
    }
    return new Promise((resolve, reject) => {
      this.#queue.push({ intake, when, resolve, reject, tries: 0 });
      this.#queuedBytes = bytes;
      this.#pump();
    });
  }

  /** Sends what waits, once the callbacks of this turn have all added theirs. */
  #pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    setImmediate(() => {
      this.#pumping = false;
      if (this.#suspects.length > 0) return; // they go alone, and first
      const { process } = this.#life;
      if (!process || this.#queue.length === 0 || !this.#hasRoom) return;
      this.#count.batches++;
      let sent = 0;
      for (; sent < this.#queue.length && this.#hasRoom; sent++) void this.#send(process, this.#queue[sent]!);
      this.#queue.splice(0, sent);
    });
  }

  /** One mail may be larger than all that is allowed. */
  get #hasRoom(): boolean {
    return this.#outstanding < WITH_PROCESS && this.#outstandingBytes < WITH_PROCESS_BYTES;
  }

  async #send(process: IngestProcess, waiting: Waiting): Promise<void> {
    const bytes = waiting.intake.raw.byteLength;
    this.#queuedBytes -= bytes;
    this.#count.mails++;
    this.#outstanding++;
    this.#outstandingBytes += bytes;
    try {
      this.#settle(waiting, await this.#ask(process, waiting, false));
    } catch (error) {
      if (error instanceof IngestDied) this.#suspect(waiting, error);
      else waiting.reject(error as Error);
    } finally {
      this.#outstanding--;
      this.#outstandingBytes -= bytes;
      this.#pump();
    }
  }

  /** @param alone nothing else is parsed beside it; where nobody waits for its content it is not parsed at all */
  #ask(process: IngestProcess, { intake, when }: Waiting, alone: boolean): Promise<Accepted | NotStored> {
    const request: Request = {
      op: "intake",
      head: headOf(intake),
      when: alone && when === "soon" ? "later" : when,
      alone,
    };
    return process.ask(request, [intake.raw]);
  }

  #settle({ resolve, reject }: Waiting, answer: Accepted | NotStored): void {
    if ("error" in answer) {
      reject(errorOf(answer.error));
      return;
    }
    resolve(answer);
    if (!answer.spooled) this.#reportLog.add("intake", answer.result);
  }

  /** The process died; unless it parsed spooled mail then, this mail may be the reason. */
  #suspect(waiting: Waiting, { during }: IngestDied): void {
    if (during === "intake") waiting.tries++;
    this.#suspects.push(waiting);
    if (this.#suspects.length === 1) void this.#clearSuspects();
  }

  /** After a death: each mail alone, so that the one that ends the process is known. */
  async #clearSuspects(): Promise<void> {
    for (let waiting = this.#suspects[0]; waiting; waiting = this.#suspects[0]) {
      try {
        if (this.#stopping) throw new MailreportError("daemon.stopping");
        this.#settle(waiting, await this.#ask(await this.#life.running(), waiting, true));
      } catch (error) {
        if (!(error instanceof IngestDied)) waiting.reject(error as Error);
        else if (error.during !== "intake" || ++waiting.tries < MOST_TRIES) continue;
        else await this.#quarantine(waiting, error.why === "died" ? "internal" : error.why);
      }
      this.#suspects.shift();
    }
    this.#tell({ op: "parsing", on: this.#mayParse });
    this.#pump();
  }

  async #quarantine({ intake, resolve, reject }: Waiting, reason: Reason): Promise<void> {
    const detail = `the ingest process ended ${MOST_TRIES} times while it was parsed`;
    try {
      const process = await this.#life.running();
      const request: Request = { op: "quarantine", head: headOf(intake), reason, detail };
      const mailId = await process.ask<number>(request, [intake.raw]);
      this.#count.quarantined++;
      this.#options.events.emit("ingest.quarantined", { mail: `m${mailId}`, reason });
      resolve({
        spooled: false,
        result: {
          mailId,
          outcome: "invalid",
          reason,
          detail,
          items: [],
          reportIds: [],
          dsns: [],
          envelopeTo: [],
        },
      });
    } catch (error) {
      reject(error instanceof IngestDied ? new MailreportError("ingest.unavailable") : (error as Error));
    }
  }

  // ---- jobs ------------------------------------------------------------------

  async #job<T>(request: Request, limitMs?: number): Promise<T> {
    try {
      return await (await this.#life.running()).ask<T>(request, [], limitMs);
    } catch (error) {
      if (error instanceof IngestDied) throw new MailreportError("ingest.unavailable", { cause: error });
      throw error;
    }
  }

  reparse(mailIds: readonly number[]): Promise<IntakeResult[]> {
    return this.#job({ op: "reparse", mailIds }, JOB_LIMIT_MS);
  }

  expire(now: number, policy: RetentionPolicy, rows: number): Promise<ExpirySlice> {
    return this.#job({ op: "expire", now, policy, rows }, JOB_LIMIT_MS);
  }

  vacuum(pages: number): Promise<number> {
    return this.#job({ op: "vacuum", pages }, JOB_LIMIT_MS);
  }

  async allParsed(limitMs: number): Promise<number> {
    if (this.#backlog.size === 0 || this.#stopping || this.parsing !== "running") return this.#backlog.size;
    this.#tell({ op: "parseNow" });
    return this.#backlog.allParsed(limitMs);
  }

  pauseParsing(paused: boolean): void {
    this.#paused = paused;
    if (paused) this.#backlog.giveUp();
    this.#tell({ op: "parsing", on: this.#mayParse });
  }

  reload(config: Config): void {
    this.#config = config;
    this.#tell({ op: "configure", limits: config.limits, policy: receivePolicy(config) });
  }

  /** A request without an answer that anybody waits for. A process that starts later is opened with what it says. */
  #tell(request: Request): void {
    if (this.#stopping || (this.#life.trouble && !this.#life.process)) return;
    void this.#job(request).catch((error) => {
      const { code } = failureOf(error).error;
      const fields = { what: "archive", code, error: errorText(error) };
      this.#options.events.emit("store.problem", { level: "warn", ...fields });
    });
  }

  stats(): Record<string, number> {
    const { batches, mails, quarantined } = this.#count;
    return {
      "ingest.restarts": this.#life.restarts,
      "ingest.batches": batches,
      "ingest.mails": mails,
      "ingest.quarantined": quarantined,
      "ingest.waiting": this.#queue.length,
      "ingest.pid": this.#life.process?.pid ?? 0,
    };
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.#failQueue(new MailreportError("daemon.stopping"));
    this.#backlog.giveUp();
    await this.#life.stop();
    await this.#reportLog.ended();
  }
}
