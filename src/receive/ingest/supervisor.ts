/**
 * Keeps an ingest process running and feeds it: mails go to it as they come, and while it commits some, those that
 * came meanwhile gather for its next transaction (group commit by draining). When the process dies, unanswered mails
 * are handed to the next one, one by one; the one that kills again and again is stored raw with the reason. Nobody
 * else notices.
 */
import type { Config } from "../../config/schema.ts";
import type { Clock } from "../../lib/clock.ts";
import { errorText, MailreportError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log/log.ts";
import type { Reason } from "../../model/outcome.ts";
import type { Accepted, Intake, IntakeResult } from "../../store/archive.ts";
import { receivePolicy, refusalBefore } from "../policy.ts";
import type { IngestPort } from "../port.ts";
import { Backlog } from "./backlog.ts";
import { IngestDied, type IngestProcess, spawnIngest } from "./process.ts";
import { headOf, type Notice, type ReadWhen, type Request, SPOOLED_MAILS } from "./protocol.ts";
import { logReports } from "./report-log.ts";

/** One request to the process, which makes its transactions of whole requests. */
const BATCH_MAILS = 8;
const BATCH_BYTES = 4 << 20;
/** Mails with the process, not answered yet: the next transaction is there when one has ended. */
const WITH_PROCESS = 128;
/** Their bytes: the process holds them in memory. */
const WITH_PROCESS_BYTES = 8 << 20;
/** A mail with which the process died so often is set aside. */
const MOST_TRIES = 3;
/** Waiting beyond this is refused with a temporary error. */
const WAITING_MAILS = 5000;
const WAITING_BYTES = 256 << 20;
/** On top of the reading time that the limits allow. */
const GRACE_MS = 5000;
const JOB_LIMIT_MS = 3_600_000;
const RESTART_WAIT_MS = 1000;

interface Waiting {
  readonly intake: Intake;
  readonly when: ReadWhen;
  readonly resolve: (accepted: Accepted) => void;
  readonly reject: (error: Error) => void;
  /** How often the process died while it had this mail. */
  tries: number;
}

function bytesOf(batch: readonly Waiting[]): number {
  return batch.reduce((sum, { intake }) => sum + intake.raw.byteLength, 0);
}

export interface IngestOptions {
  readonly config: Config;
  /** Path of archive.db. */
  readonly archive: string;
  readonly log: Log;
  readonly clock: Clock;
  /** What was read from spooled mail, after the fact. */
  readonly onRead?: (result: IntakeResult) => void;
  /** The program of the process; default: the built one. */
  readonly program?: string;
}

export interface Ingest extends IngestPort {
  reload(config: Config): void;
}

/** Starts the ingest process. Errors: MailreportError `store.*` when the archive cannot be opened. */
export async function startIngest(options: IngestOptions): Promise<Ingest> {
  const supervisor = new Supervisor(options);
  await supervisor.start();
  return supervisor;
}

class Supervisor implements Ingest {
  readonly #options: IngestOptions;
  #config: Config;
  #process: IngestProcess | undefined;
  #starting: Promise<IngestProcess> | undefined;
  #queue: Waiting[] = [];
  #queuedBytes = 0;
  /** Mails with the process, and their bytes. */
  #outstanding = 0;
  #outstandingBytes = 0;
  /** Mails that the process had when it died: one of them may have been the reason. */
  #suspects: Waiting[] = [];
  #pumping = false;
  #reading = true;
  #stopping = false;
  #readWatch: { cancel(): void } | undefined;
  readonly #backlog: Backlog;
  readonly #count = { restarts: 0, batches: 0, mails: 0, quarantined: 0 };

  constructor(options: IngestOptions) {
    this.#options = options;
    this.#config = options.config;
    this.#backlog = new Backlog(options.clock);
  }

  async start(): Promise<void> {
    await this.#running();
  }

  // ---- the process -----------------------------------------------------------

  #running(): Promise<IngestProcess> {
    if (this.#process) return Promise.resolve(this.#process);
    this.#starting ??= this.#launch().finally(() => {
      this.#starting = undefined;
    });
    return this.#starting;
  }

  async #launch(): Promise<IngestProcess> {
    const { clock, program, archive, log } = this.#options;
    const launched = spawnIngest({
      clock,
      memory: this.#config.limits.ingest_memory,
      onNotice: (notice) => this.#noticed(launched, notice),
      ...(program === undefined ? {} : { program }),
    });
    const open: Request = {
      op: "open",
      path: archive,
      limits: this.#config.limits,
      policy: receivePolicy(this.#config),
      reading: this.#reading,
    };
    try {
      this.#backlog.begin(await launched.ask<number>(open, [], 60_000));
    } catch (error) {
      launched.kill("died");
      if (error instanceof IngestDied) throw new MailreportError("ingest.unavailable", { cause: error });
      throw error;
    }
    this.#process = launched;
    log.info("ingest.started", { pid: launched.pid });
    void launched.ended.then((died) => this.#died(launched, died));
    return launched;
  }

  #died(launched: IngestProcess, died: IngestDied): void {
    if (this.#process === launched) this.#process = undefined;
    this.#readWatch?.cancel();
    if (this.#stopping) return;
    this.#count.restarts++;
    this.#options.log.warn("ingest.died", { pid: launched.pid, why: died.why });
    this.#restart();
  }

  /** Starts it again; when that fails, every second. */
  #restart(): void {
    this.#running().then(
      () => this.#pump(),
      (error) => {
        this.#options.log.error("store.problem", { what: "archive", error: errorText(error) });
        this.#failQueue(error instanceof MailreportError ? error : new MailreportError("ingest.unavailable"));
        if (!this.#stopping) this.#options.clock.after(RESTART_WAIT_MS, () => this.#restart());
      },
    );
  }

  #failQueue(error: Error): void {
    for (const { reject } of this.#queue.splice(0)) reject(error);
    this.#queuedBytes = 0;
  }

  #noticed(from: IngestProcess, notice: Notice): void {
    this.#readWatch?.cancel();
    if (notice.notice === "reading") {
      this.#readWatch = this.#options.clock.after(this.#limit(SPOOLED_MAILS), () => from.kill("timeout"));
    } else if (notice.notice === "read") {
      for (const result of notice.results) {
        logReports(this.#options.log, result);
        this.#options.onRead?.(result);
      }
      this.#backlog.read(notice.results.length);
    } else {
      this.#options.log.warn("store.problem", { what: "spool", code: notice.code, detail: notice.detail });
    }
  }

  /** How long reading so many mails may take before the process counts as hung. */
  #limit(mails: number): number {
    return this.#config.limits.read_timeout * Math.min(mails, 3) + GRACE_MS;
  }

  // ---- intake ----------------------------------------------------------------

  get waiting(): { readonly mails: number; readonly bytes: number } {
    return { mails: this.#queue.length, bytes: this.#queuedBytes };
  }

  get unparsed(): number {
    return this.#backlog.size;
  }

  accept(intake: Intake): Promise<Accepted> {
    const large = intake.raw.byteLength > this.#config.limits.spool_threshold;
    // a mail that may have to be refused is read before it is answered, whatever its size
    const judged = refusalBefore(this.#config, intake.kinds, intake.auth) !== undefined;
    return this.#enqueue(intake, !this.#reading ? "later" : judged ? "now" : large ? "later" : "soon");
  }

  async acceptAndParse(intake: Intake): Promise<IntakeResult> {
    const accepted = await this.#enqueue(intake, "now");
    if (accepted.spooled)
      throw new MailreportError("daemon.bug", { detail: "a mail to be read was spooled" });
    return accepted.result;
  }

  #enqueue(intake: Intake, when: ReadWhen): Promise<Accepted> {
    if (this.#stopping) return Promise.reject(new MailreportError("daemon.stopping"));
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
      while (this.#queue.length > 0 && this.#hasRoom && this.#process) {
        void this.#send(this.#process, this.#takeBatch());
      }
    });
  }

  /** One mail may be larger than all that is allowed. */
  get #hasRoom(): boolean {
    return this.#outstanding < WITH_PROCESS && this.#outstandingBytes < WITH_PROCESS_BYTES;
  }

  /** The next mails, as many as fit. */
  #takeBatch(): Waiting[] {
    let bytes = 0;
    let n = 0;
    while (n < this.#queue.length && n < BATCH_MAILS) {
      bytes += this.#queue[n]!.intake.raw.byteLength;
      if (n > 0 && bytes > BATCH_BYTES) break;
      n++;
    }
    const batch = this.#queue.splice(0, n);
    this.#queuedBytes -= bytesOf(batch);
    return batch;
  }

  async #send(process: IngestProcess, batch: readonly Waiting[]): Promise<void> {
    this.#count.batches++;
    this.#count.mails += batch.length;
    this.#outstanding += batch.length;
    const bytes = bytesOf(batch);
    this.#outstandingBytes += bytes;
    try {
      this.#settle(batch, await this.#ask(process, batch));
    } catch (error) {
      if (error instanceof IngestDied) this.#suspect(batch);
      else for (const { reject } of batch) reject(error as Error);
    } finally {
      this.#outstanding -= batch.length;
      this.#outstandingBytes -= bytes;
      this.#pump();
    }
  }

  #ask(process: IngestProcess, batch: readonly Waiting[]): Promise<Accepted[]> {
    return process.ask<Accepted[]>(
      { op: "intake", heads: batch.map(({ intake, when }) => headOf(intake, when)) },
      batch.map(({ intake }) => intake.raw),
      this.#limit(batch.length),
    );
  }

  #settle(batch: readonly Waiting[], accepted: readonly Accepted[]): void {
    for (const [i, { resolve }] of batch.entries()) {
      const one = accepted[i]!;
      if (one.spooled) this.#backlog.stored();
      else logReports(this.#options.log, one.result);
      resolve(one);
    }
  }

  #suspect(batch: readonly Waiting[]): void {
    for (const waiting of batch) waiting.tries++;
    this.#suspects.push(...batch);
    if (this.#suspects.length === batch.length) void this.#clearSuspects();
  }

  /** After a death: each mail alone, so that the one that kills is known. */
  async #clearSuspects(): Promise<void> {
    for (let waiting = this.#suspects[0]; waiting; waiting = this.#suspects[0]) {
      try {
        if (this.#stopping) throw new MailreportError("daemon.stopping");
        this.#settle([waiting], await this.#ask(await this.#running(), [waiting]));
      } catch (error) {
        if (!(error instanceof IngestDied)) waiting.reject(error as Error);
        else if (++waiting.tries < MOST_TRIES) continue;
        else await this.#quarantine(waiting, error.why === "died" ? "internal" : error.why);
      }
      this.#suspects.shift();
    }
    this.#pump();
  }

  async #quarantine({ intake, resolve, reject }: Waiting, reason: Reason): Promise<void> {
    const detail = `reading it ended the ingest process ${MOST_TRIES} times`;
    try {
      const process = await this.#running();
      const request: Request = { op: "quarantine", heads: [headOf(intake, "later")], reason, detail };
      const mailId = await process.ask<number>(request, [intake.raw], this.#limit(1));
      this.#count.quarantined++;
      this.#options.log.error("ingest.quarantined", { mail: `m${mailId}`, reason });
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

  async #job<T>(request: Request, limitMs = JOB_LIMIT_MS): Promise<T> {
    try {
      return await (await this.#running()).ask<T>(request, [], limitMs);
    } catch (error) {
      if (error instanceof IngestDied) throw new MailreportError("ingest.unavailable", { cause: error });
      throw error;
    }
  }

  reparse(mailIds: readonly number[]): Promise<IntakeResult[]> {
    return this.#job({ op: "reparse", mailIds });
  }

  expire(now: number, policy: Parameters<IngestPort["expire"]>[1], rows: number): Promise<number> {
    return this.#job({ op: "expire", now, policy, rows });
  }

  deleteReport(reportId: number): Promise<boolean> {
    return this.#job({ op: "deleteReport", reportId });
  }

  backup(path: string): Promise<{ readonly bytes: number }> {
    return this.#job({ op: "backup", path });
  }

  vacuum(pages: number): Promise<number> {
    return this.#job({ op: "vacuum", pages });
  }

  allParsed(limitMs: number): Promise<void> | undefined {
    if (this.#backlog.size === 0 || !this.#reading || this.#stopping) return undefined;
    this.#tell({ op: "parseNow" });
    return this.#backlog.allParsed(limitMs);
  }

  pauseParsing(paused: boolean): void {
    this.#reading = !paused;
    this.#tell({ op: "reading", on: !paused });
  }

  reload(config: Config): void {
    this.#config = config;
    this.#tell({ op: "configure", limits: config.limits, policy: receivePolicy(config) });
  }

  /** A request whose answer nobody waits for. */
  #tell(request: Request): void {
    void this.#job(request).catch((error) => {
      this.#options.log.warn("store.problem", { what: "archive", error: errorText(error) });
    });
  }

  stats(): Record<string, number> {
    const { restarts, batches, mails, quarantined } = this.#count;
    return {
      "ingest.restarts": restarts,
      "ingest.batches": batches,
      "ingest.mails": mails,
      "ingest.quarantined": quarantined,
      "ingest.waiting": this.#queue.length,
      "ingest.pid": this.#process?.pid ?? 0,
    };
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.#failQueue(new MailreportError("daemon.stopping"));
    this.#readWatch?.cancel();
    const process = this.#process;
    if (!process) return;
    try {
      await process.ask({ op: "close" }, [], 10_000);
    } catch (error) {
      this.#options.log.warn("store.problem", { what: "archive", error: errorText(error) });
    }
    process.kill("died");
    await process.ended;
  }
}
