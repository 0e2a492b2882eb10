/**
 * The daemon: builds everything in order, starts it and stops it. The only place, beside the programs, that makes
 * real clocks, DNS and randomness.
 */
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { fileURLToPath } from "node:url";
import type { Found } from "./config/find.ts";
import type { Environment } from "./config/load.ts";
import type { Config } from "./config/schema.ts";
import { startControl } from "./control/server.ts";
import type { Services } from "./control/services.ts";
import { Bounces } from "./daemon/bounces.ts";
import { checkMachine } from "./daemon/check-machine.ts";
import { countEvents } from "./daemon/event-counters.ts";
import { logEvents } from "./daemon/event-log.ts";
import { startJobs } from "./daemon/jobs/make.ts";
import { makeNames } from "./daemon/names.ts";
import { Parts } from "./daemon/parts.ts";
import { Pauses } from "./daemon/pauses.ts";
import { Reloader } from "./daemon/reload.ts";
import { makeServices } from "./daemon/services.ts";
import {
  ensureWritable,
  loadSigningKeys,
  makeRuntimeDirectory,
  makeStateDirectory,
  TRY_OUT_HINTS,
} from "./daemon/setup.ts";
import { Startup, type Step } from "./daemon/startup.ts";
import { statsOf } from "./daemon/status.ts";
import { Stopping } from "./daemon/stopping.ts";
import { subsystemsOf, waitingSubsystems } from "./daemon/subsystems.ts";
import { systemError } from "./daemon/system-error.ts";
import { Delivery } from "./deliver/runner.ts";
import { makeFeeder } from "./feed/batch.ts";
import { makeFeedSource } from "./feed/sources.ts";
import { type Clock, epochSeconds } from "./lib/clock.ts";
import { errorText, MailreportError } from "./lib/errors.ts";
import { Events } from "./lib/events.ts";
import type { RandomBytes } from "./lib/ids.ts";
import type { Log } from "./lib/log/log.ts";
import type { LogSink } from "./lib/log/pino.ts";
import { failureOf, logFailure, supervised } from "./lib/supervised.ts";
import type { DaemonEvents } from "./model/events.ts";
import type { Subsystem } from "./model/subsystems.ts";
import { makeMessageVerifier } from "./receive/auth/verify.ts";
import { startIngest } from "./receive/ingest/supervisor.ts";
import { startSmtp } from "./receive/smtp/server.ts";
import { ComposeThread } from "./report/compose/thread.ts";
import { makeCounter } from "./report/counter.ts";
import { messageOfReturnPath } from "./report/messages.ts";
import { Scheduler } from "./report/scheduler.ts";
import type { DaemonStatus } from "./services/daemon.ts";
import type { IntakeResult } from "./store/archive/intake.ts";
import { ARCHIVE_ENGINE } from "./store/sqlite/archive/engine.ts";
import { takeStateLock } from "./store/sqlite/lock.ts";
import { openQueueStore } from "./store/sqlite/queue/store.ts";

const PACKAGE_ROOT = join(dirname(fileURLToPath(import.meta.url)), "..");

export const VERSION = (
  JSON.parse(readFileSync(join(PACKAGE_ROOT, "package.json"), "utf8")) as { version: string }
).version;

/** Longest wait, on stopping, for mail in progress and for attempts in flight. */
const SMTP_GRACE_MS = 10_000;
const DELIVERY_GRACE_MS = 15_000;

/** What the configuration depends on. */
export function environment(): Environment {
  return { hostname: hostname(), directory: process.cwd(), packageRoot: PACKAGE_ROOT, checkMachine };
}

export interface DaemonOptions {
  readonly config: Config;
  readonly tryOut: boolean;
  readonly reloadConfig: () => Found;
  readonly sink: LogSink;
  readonly clock: Clock;
  readonly random: RandomBytes;
  /** Subsystems to start paused. */
  readonly paused: readonly Subsystem[];
}

export class Daemon {
  readonly #options: DaemonOptions;
  readonly #log: Log;
  readonly #events: DaemonEvents;
  readonly #eventCounts: () => Record<string, number>;
  readonly #startedAt: number;
  readonly #loop = monitorEventLoopDelay({ resolution: 10 });
  readonly #parts: Parts;
  readonly #pauses: Pauses;
  readonly #services: Services;
  readonly #reloader: Reloader;
  readonly #startup: Startup;
  readonly #stops: Stopping;
  readonly #bounces: Bounces;
  #stopping: Promise<void> | undefined;
  #failure: unknown = null;
  #resolveStopped!: (failure: unknown) => void;
  /** Resolves when the daemon has stopped, also while it was starting; with the error that ended it, or null. */
  readonly stopped: Promise<unknown>;

  constructor(options: DaemonOptions) {
    const { config, sink, clock, reloadConfig } = options;
    const { log } = sink;
    this.#options = options;
    this.#log = log;
    this.#events = new Events(log);
    logEvents(this.#events, log, clock);
    this.#eventCounts = countEvents(this.#events);
    const events = this.#events;
    this.#startedAt = epochSeconds(clock);
    this.stopped = new Promise((resolve) => {
      this.#resolveStopped = resolve;
    });
    this.#startup = new Startup({
      clock,
      events,
      onProblem: (problem) => this.#parts.made.smtp?.suspend(problem),
    });
    this.#parts = new Parts(config, () => this.#startup.problem);
    this.#pauses = new Pauses(this.#parts);
    this.#reloader = new Reloader({ parts: this.#parts, sink, find: reloadConfig });
    this.#stops = new Stopping(log, clock);
    this.#bounces = new Bounces(log, () => this.#parts.need("secret"));
    this.#services = makeServices({
      parts: this.#parts,
      pauses: this.#pauses,
      clock,
      sink,
      events,
      stats: () => this.#stats(),
      status: () => this.#status(),
      reload: (who, dryRun) => this.#reloader.reload(who, dryRun),
      stop: (who) => void this.stop(who),
    }).services;
  }

  /**
   * Starts everything. With a full disk or a locked database it returns once mail is answered with a temporary error,
   * and goes on when that has passed. Errors, after stopping what had started: MailreportError; a bug as it is; none
   * when it was stopped meanwhile.
   */
  async start(): Promise<void> {
    try {
      await this.#start();
    } catch (thrown) {
      if (this.#stopping) return this.#stopping;
      await this.#fail(thrown);
      throw systemError(thrown);
    }
  }

  async #start(): Promise<void> {
    const { config } = this.#parts;
    if (process.getuid?.() === 0 && !config.allow_root) {
      throw new MailreportError("daemon.root_refused", {
        detail: "run it as a user of its own, or set allow_root = true",
      });
    }
    const state = config.state_directory;
    this.#log.info("daemon.starting", { version: VERSION, pid: process.pid, config: config.file, state });
    process.umask(0o027);
    this.#loop.enable();
    this.#parts.made.names = makeNames(config, this.#options.clock);
    const { waiting } = this.#startup;
    const opened = this.#startup.run(this.#openSteps());
    opened.catch(() => undefined); // `ready` has its error
    await Promise.race([opened, waiting]);
    if (this.#stopping) return;
    await this.#listen();
    const ready = opened
      .then((done) => done && this.#startup.run(this.#serveSteps()))
      .then((done) => (done ? this.#ready() : undefined));
    await Promise.race([ready, waiting]);
    void ready.catch((error) => this.#fail(error));
  }

  /** The start has failed for good: stops what had started. The log line of a bug comes from the program. */
  async #fail(thrown: unknown): Promise<void> {
    if (this.#stopping) return this.#stopping;
    const error = systemError(thrown);
    this.#failure = error;
    const failure = failureOf(error);
    if (!failure.bug) logFailure({ log: this.#log, unit: "start" }, failure);
    await this.stop("failed start");
  }

  // ---- steps of the start --------------------------------------------------------

  /** The control socket, which tells why the rest waits; the lock of the state directory; the databases. */
  #openSteps(): Step[] {
    const { made, config } = this.#parts;
    const state = config.state_directory;
    return [
      () => makeStateDirectory(state),
      () => makeRuntimeDirectory(config.runtime_directory),
      async () => {
        const control = await startControl(config, this.#services, this.#log);
        this.#stops.add("control", () => control.stop());
      },
      () => {
        ensureWritable(join(state, "lock.db"));
        const lock = takeStateLock(join(state, "lock.db"));
        this.#stops.add("lock", () => lock.release());
      },
      () => this.#openQueue(join(state, "queue.db")),
      () => {
        this.#parts.keys = loadSigningKeys(this.#parts.config, this.#log, "generate");
      },
      async () => {
        const path = join(state, "archive.db");
        ensureWritable(path);
        const { ingestProgram: program } = ARCHIVE_ENGINE;
        const ingest = await startIngest({
          ...(program === undefined ? {} : { program }),
          config: this.#parts.config,
          archive: path,
          log: this.#log,
          events: this.#events,
          clock: this.#options.clock,
          onRead: (result) => this.#parsedLater(result),
          onStarting: (stop) => this.#stops.add("ingest", stop),
        });
        made.ingest = ingest;
        this.#stops.add("bounces", () => this.#bounces.stop());
        const archive = ARCHIVE_ENGINE.questions({
          path,
          clock: this.#options.clock,
          onProblem: (thrown) => {
            const { error } = failureOf(thrown);
            const fields = { what: "reader", code: error.code, error: errorText(error) };
            this.#events.emit("store.problem", { level: "error", ...fields });
          },
          onOverload: (error) =>
            logFailure({ log: this.#log, unit: "question to the archive" }, failureOf(error)),
        });
        made.archive = archive;
        this.#stops.add("archive", () => archive.close());
        this.#log.info("store.opened", { path });
      },
      async () => {
        const caller = { who: "command line", reason: null };
        for (const subsystem of this.#options.paused)
          await this.#services.pauses.pause.run({ subsystem, destination: null }, caller);
      },
    ];
  }

  #openQueue(path: string): void {
    ensureWritable(path);
    const queue = openQueueStore(path, {
      maxRows: () => this.#parts.config.report.max_rows,
      onMigrate: ({ from, to }) => this.#log.info("store.migrating", { path, from, to }),
    });
    try {
      this.#parts.made.secret = queue.instanceSecret(() => this.#options.random(32));
    } catch (error) {
      queue.close();
      throw error;
    }
    this.#parts.made.queue = queue;
    this.#stops.add("queue", () => queue.close());
    this.#log.info("store.opened", { path });
  }

  /** The listeners for mail. While the start waits, each mail gets a temporary error. */
  async #listen(): Promise<void> {
    const { clock } = this.#options;
    const { made } = this.#parts;
    const { resolver } = this.#parts.need("names");
    const config = () => this.#parts.config;
    const verifier = makeMessageVerifier({ config, resolver, clock, log: this.#log });
    made.verifier = verifier;
    await verifier.prepare();
    const smtp = await startSmtp({
      config: config(),
      ingest: this.#parts.late("ingest"),
      clock,
      log: this.#log,
      events: this.#events,
      problem: this.#startup.problem,
      verify: (raw, facts) => verifier.verify(raw, facts),
      isReturnPath: (address) =>
        made.secret !== undefined && messageOfReturnPath(address, made.secret) !== undefined,
      onAccepted: (accepted) => {
        if (!accepted.spooled) this.#bounces.take(accepted.result);
      },
    });
    made.smtp = smtp;
    smtp.suspend(this.#startup.problem); // it may have changed meanwhile
    if (made.queue) smtp.pauseIntake(this.#pauses.isPaused("smtp"));
    this.#stops.add("smtp", () => smtp.stop(SMTP_GRACE_MS));
  }

  /** What counts, composes and delivers. */
  #serveSteps(): Step[] {
    const { config } = this.#parts;
    const { clock } = this.#options;
    this.#makeReporting();
    const feeder = this.#parts.need("feeder");
    const delivery = this.#parts.need("delivery");
    const scheduler = this.#parts.need("scheduler");
    const sources = config.feed.map((feed) =>
      makeFeedSource(feed, {
        feeder,
        cursor: () => this.#parts.need("queue").feedCursor(feed.name),
        clock,
        log: this.#log,
        events: this.#events,
      }),
    );
    this.#parts.made.feeds = sources;
    return [
      () => this.#pauses.apply(),
      ...sources.map((source) => async () => {
        await source.start();
        this.#stops.add("feed", () => source.stop());
      }),
      () => {
        delivery.start();
        this.#stops.add("delivery", () => delivery.stop(DELIVERY_GRACE_MS));
        this.#bounces.deliverTo(delivery);
        this.#stops.add("bounces", () => delivery.close());
      },
      () => {
        scheduler.start();
        this.#stops.add("scheduler", () => scheduler.stop());
      },
      () => {
        const jobs = startJobs(this.#parts, { clock, log: this.#log, events: this.#events });
        this.#stops.add("jobs", () => jobs.stop());
      },
    ];
  }

  #makeReporting(): void {
    const { clock, random } = this.#options;
    const { made } = this.#parts;
    const { resolver } = this.#parts.need("names");
    const [store, secret] = [this.#parts.need("queue"), this.#parts.need("secret")];
    const common = { config: () => this.#parts.config, store, clock, log: this.#log, events: this.#events };
    const delivery = new Delivery({
      ...common,
      resolver,
      random: () => Buffer.from(random(4)).readUInt32BE(0) / 0x1_0000_0000,
    });
    const composer = new ComposeThread({ path: join(this.#parts.config.state_directory, "queue.db"), clock });
    const scheduler = new Scheduler({
      ...common,
      composer,
      resolver,
      secret,
      keys: () => this.#parts.keys,
      version: VERSION,
      paused: () => this.#pauses.isPaused("scheduler"),
      onComposed: () => delivery.wake(),
    });
    const count = makeCounter({ ...common, secret, onOpened: () => scheduler.wake() });
    made.delivery = delivery;
    made.composer = composer;
    made.scheduler = scheduler;
    made.feeder = makeFeeder({ config: common.config, clock, count, events: this.#events });
  }

  #ready(): void {
    this.#events.emit("daemon.ready", {
      smtp: this.#parts.need("smtp").listening.map((l) => l.address),
      control: this.#parts.config.control.socket,
    });
    if (this.#options.tryOut) for (const hint of TRY_OUT_HINTS) this.#log.info("daemon.hint", { hint });
    this.#loop.reset(); // the delays of the start are not of interest
  }

  /** Spooled mail was parsed. An error is logged by the caller. */
  #parsedLater(result: IntakeResult): void {
    const { mailId, outcome, reason } = result;
    this.#bounces.take(result);
    this.#events.emit("mail.parsed", { id: `m${mailId}`, outcome, reason });
  }

  // ---- control ---------------------------------------------------------------------

  async #stats(): Promise<Record<string, number>> {
    return {
      ...(await statsOf(this.#parts)),
      ...this.#eventCounts(),
      "daemon.loop.max_ms": Math.round(this.#loop.max / 1e6),
      "daemon.rss": process.memoryUsage().rss,
      "log.lost": this.#options.sink.lost(),
      uptime: epochSeconds(this.#options.clock) - this.#startedAt,
    };
  }

  #status(): DaemonStatus {
    return {
      version: VERSION,
      pid: process.pid,
      startedAt: this.#startedAt,
      hostname: this.#parts.config.hostname,
      unparsed: this.#parts.made.ingest?.unparsed ?? 0,
      subsystems:
        this.#parts.made.jobs === undefined
          ? waitingSubsystems(this.#startup.problem)
          : subsystemsOf(this.#parts, (subsystem) => this.#pauses.isPaused(subsystem)),
    };
  }

  /** Writes the status to the log. Never throws. */
  logStatus(): void {
    void supervised({ log: this.#log, unit: "status" }, () => {
      const { subsystems, hostname, startedAt } = this.#status();
      const each = Object.entries(subsystems).map(([name, { state, detail }]) => [
        name,
        `${state}: ${detail}`,
      ]);
      this.#log.info("daemon.status", { hostname, started_at: startedAt, ...Object.fromEntries(each) });
    });
  }

  /** Carries out what a signal asks for: SIGHUP reloads the configuration, the others stop the daemon. Never rejects. */
  async signal(name: "SIGHUP" | "SIGTERM" | "SIGINT"): Promise<void> {
    const { reload, stop } = this.#services.daemon;
    const caller = { who: "signal", reason: name };
    await supervised({ log: this.#log, unit: "signal", fields: { signal: name } }, async () => {
      await (name === "SIGHUP" ? reload : stop).run(undefined, caller);
    });
  }

  /** Drains and stops, once. */
  stop(who: string): Promise<void> {
    this.#stopping ??= this.#drain(who);
    return this.#stopping;
  }

  async #drain(who: string): Promise<void> {
    this.#events.emit("daemon.stopping", { who });
    this.#startup.stop();
    await this.#stops.all();
    this.#loop.disable();
    this.#log.info("daemon.stopped");
    this.#resolveStopped(this.#failure);
  }
}
