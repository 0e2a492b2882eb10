/**
 * The daemon: builds everything in order, starts it, reloads it, and stops it in reverse. The only place, beside the
 * programs, that makes real clocks, DNS and randomness.
 */
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { fileURLToPath } from "node:url";
import type { Found } from "./config/find.ts";
import type { Environment } from "./config/load.ts";
import { diffConfig } from "./config/print.ts";
import type { Config } from "./config/schema.ts";
import { type ControlServer, startControl } from "./control/server.ts";
import type { ReloadAnswer, Services, StatusAnswer } from "./control/services.ts";
import { Housekeeping } from "./daemon/housekeeping.ts";
import {
  loadSigningKeys,
  makeResolver,
  makeRuntimeDirectory,
  makeStateDirectory,
  TRY_OUT_HINTS,
} from "./daemon/setup.ts";
import { type DaemonParts, statsOf, subsystemsOf } from "./daemon/status.ts";
import { Delivery } from "./deliver/runner.ts";
import { makeFeeder } from "./feed/batch.ts";
import { type FeedSocket, startFeedSocket } from "./feed/socket.ts";
import type { SigningKey } from "./format/mail/dkim-sign.ts";
import { type Clock, epochSeconds } from "./lib/clock.ts";
import { errorText, MailreportError } from "./lib/errors.ts";
import type { RandomBytes } from "./lib/ids.ts";
import type { Log } from "./lib/log/log.ts";
import type { LogSink } from "./lib/log/pino.ts";
import type { Subsystem } from "./model/queue.ts";
import { type MessageVerifier, makeMessageVerifier, NOT_VERIFIED } from "./receive/auth/verify.ts";
import { type Ingest, startIngest } from "./receive/ingest/supervisor.ts";
import { type SmtpListeners, startSmtp } from "./receive/smtp/server.ts";
import { makeCounter } from "./report/counter.ts";
import { messageOfReturnPath } from "./report/messages.ts";
import { Scheduler } from "./report/scheduler.ts";
import type { ArchiveReader, IntakeResult } from "./store/archive.ts";
import type { QueueStore } from "./store/queue.ts";
import { startArchiveReader } from "./store/sqlite/archive/reader-client.ts";
import { type StateLock, takeStateLock } from "./store/sqlite/lock.ts";
import { openQueueStore } from "./store/sqlite/queue/store.ts";

const PACKAGE_ROOT = join(dirname(fileURLToPath(import.meta.url)), "..");

export const VERSION = (
  JSON.parse(readFileSync(join(PACKAGE_ROOT, "package.json"), "utf8")) as { version: string }
).version;

/** Mail in progress and attempts in flight may take so long at the end. */
const SMTP_GRACE_MS = 10_000;
const DELIVERY_GRACE_MS = 15_000;
/** A question waits at most so long until mail that was accepted before it is read. */
const CATCH_UP_MS = 1000;

/** What the configuration depends on. */
export function environment(): Environment {
  return { hostname: hostname(), directory: process.cwd(), packageRoot: PACKAGE_ROOT };
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

/** Starts everything. Errors: MailreportError, after stopping what had started. */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const daemon = new Daemon(options);
  try {
    await daemon.start();
  } catch (error) {
    await daemon.stop("failed start");
    throw error;
  }
  return daemon;
}

export class Daemon {
  readonly #options: DaemonOptions;
  readonly #log: Log;
  #config: Config;
  readonly #startedAt: number;
  readonly #loop = monitorEventLoopDelay({ resolution: 10 });
  /** Undone in reverse at the end. */
  readonly #stops: (() => void | Promise<void>)[] = [];
  #queue!: QueueStore;
  #ingest!: Ingest;
  #archive!: ArchiveReader;
  #keys: readonly SigningKey[] = [];
  #scheduler!: Scheduler;
  #delivery!: Delivery;
  #verifier!: MessageVerifier;
  #smtp!: SmtpListeners;
  #stopping: Promise<void> | undefined;
  #housekeeping!: Housekeeping;
  #secret!: Uint8Array;
  #resolveStopped!: () => void;
  readonly stopped: Promise<void>;

  constructor(options: DaemonOptions) {
    this.#options = options;
    this.#config = options.config;
    this.#log = options.sink.log;
    this.#startedAt = epochSeconds(options.clock);
    this.stopped = new Promise((resolve) => {
      this.#resolveStopped = resolve;
    });
  }

  async start(): Promise<void> {
    const config = this.#config;
    const { clock, random } = this.#options;
    if (process.getuid?.() === 0 && !config.allow_root) {
      throw new MailreportError("daemon.root_refused", {
        detail: "run it as a user of its own, or set allow_root = true",
      });
    }
    const state = config.state_directory;
    this.#log.info("daemon.starting", { version: VERSION, pid: process.pid, config: config.file, state });
    process.umask(0o027);
    makeStateDirectory(state);
    makeRuntimeDirectory(config.runtime_directory);
    const lock: StateLock = takeStateLock(join(state, "lock.db"));
    this.#stops.push(() => lock.release());
    this.#loop.enable();
    this.#keys = loadSigningKeys(config, this.#log);

    this.#queue = openQueueStore(join(state, "queue.db"), { maxRows: config.report.max_rows });
    this.#stops.push(() => this.#queue.close());
    const secret = this.#queue.instanceSecret(() => random(32));
    this.#secret = secret;
    this.#log.info("store.opened", { path: join(state, "queue.db") });

    const archivePath = join(state, "archive.db");
    this.#ingest = await startIngest({
      config,
      archive: archivePath,
      log: this.#log,
      clock,
      onRead: (result) => this.#readLater(result),
    });
    this.#stops.push(() => this.#ingest.stop());
    this.#archive = startArchiveReader(
      archivePath,
      (error) => this.#log.error("store.problem", { what: "reader", error: errorText(error) }),
      () => this.#ingest.allParsed(CATCH_UP_MS),
    );
    this.#stops.push(() => this.#archive.close());
    this.#log.info("store.opened", { path: archivePath });

    const resolver = makeResolver(config, clock);
    this.#delivery = new Delivery({
      config: () => this.#config,
      store: this.#queue,
      resolver,
      clock,
      log: this.#log,
      random: () => Buffer.from(random(4)).readUInt32BE(0) / 0x1_0000_0000,
    });
    this.#scheduler = new Scheduler({
      config: () => this.#config,
      store: this.#queue,
      resolver,
      clock,
      log: this.#log,
      secret,
      keys: () => this.#keys,
      version: VERSION,
      paused: () => this.#isPaused("scheduler"),
      onComposed: () => this.#delivery.wake(),
    });
    const count = makeCounter({
      config: () => this.#config,
      store: this.#queue,
      clock,
      secret,
      log: this.#log,
      onOpened: () => this.#scheduler.wake(),
    });
    const feeder = makeFeeder({ config: () => this.#config, clock, count });
    for (const subsystem of this.#options.paused) this.#pause(subsystem, null, "command line", null);
    this.#ingest.pauseParsing(this.#isPaused("mda"));
    for (const { name, socket: path, group, mode } of config.feed) {
      const access = { group, mode: Number.parseInt(mode, 8) };
      const feed: FeedSocket = await startFeedSocket({ name, path, ...access, feeder, log: this.#log });
      this.#stops.push(() => feed.stop());
    }
    this.#verifier = makeMessageVerifier({ config: () => this.#config, resolver, clock, log: this.#log });
    await this.#verifier.prepare();
    this.#smtp = await startSmtp({
      config,
      ingest: this.#ingest,
      clock,
      log: this.#log,
      verify: (raw, facts) => this.#verifier.verify(raw, facts),
      isReturnPath: (address) => messageOfReturnPath(address, secret) !== undefined,
      onAccepted: (accepted) => {
        if (!accepted.spooled) this.#bounces(accepted.result);
      },
    });
    this.#stops.push(() => this.#smtp.stop(SMTP_GRACE_MS));
    this.#smtp.pauseIntake(this.#isPaused("smtp"));
    this.#housekeeping = new Housekeeping({
      config: () => this.#config,
      archivePath: join(config.state_directory, "archive.db"),
      queuePath: join(config.state_directory, "queue.db"),
      archive: this.#archive,
      ingest: this.#ingest,
      queue: this.#queue,
      clock,
      log: this.#log,
    });
    const control: ControlServer = await startControl(config, this.#services(feeder), this.#log);
    this.#stops.push(() => control.stop());
    this.#delivery.start();
    this.#stops.push(() => this.#delivery.stop(DELIVERY_GRACE_MS));
    this.#scheduler.start();
    this.#stops.push(() => this.#scheduler.stop());
    this.#housekeeping.start();
    this.#stops.push(() => this.#housekeeping.stop());
    this.#log.info("daemon.ready", {
      smtp: this.#smtp.listening.map((l) => l.address),
      control: config.control.socket,
    });
    if (this.#options.tryOut) for (const hint of TRY_OUT_HINTS) this.#log.info("daemon.hint", { hint });
    this.#loop.reset(); // starting is not serving
  }

  // ---- bounces of our own reports ------------------------------------------------

  #bounces({ dsns, envelopeTo }: IntakeResult): void {
    if (dsns.length === 0) return;
    for (const address of envelopeTo) {
      const messageId = messageOfReturnPath(address, this.#secret);
      if (messageId !== undefined) for (const dsn of dsns) this.#delivery.bounced(messageId, dsn);
    }
  }

  #readLater(result: IntakeResult): void {
    const { mailId, outcome, reason } = result;
    this.#bounces(result);
    this.#log.info("mail.parsed", { id: `m${mailId}`, outcome, reason });
  }

  // ---- pauses ----------------------------------------------------------------------

  #isPaused(subsystem: Subsystem): boolean {
    const now = epochSeconds(this.#options.clock);
    return this.#queue
      .pauses()
      .some(
        (p) => p.subsystem === subsystem && p.destination === null && (p.until === null || p.until > now),
      );
  }

  #pause(subsystem: Subsystem, destination: string | null, who: string, reason: string | null): boolean {
    const since = epochSeconds(this.#options.clock);
    const changed = this.#queue.pause({ subsystem, destination, since, until: null, who, reason });
    if (changed)
      this.#log.info("control.changed", { command: `pause ${subsystem}`, destination, who, reason });
    return changed;
  }

  #applyPauses(): void {
    this.#smtp.pauseIntake(this.#isPaused("smtp"));
    this.#ingest.pauseParsing(this.#isPaused("mda"));
    this.#delivery.wake();
    this.#scheduler.wake();
  }

  // ---- control ---------------------------------------------------------------------

  #services(feeder: ReturnType<typeof makeFeeder>): Services {
    const { clock, sink } = this.#options;
    return {
      queue: this.#queue,
      archive: this.#archive,
      outgoing: this.#scheduler,
      importOne: ({ raw, fileName, form }) =>
        this.#ingest.acceptAndParse({
          raw,
          hints: { form, fileName, receivedAt: epochSeconds(clock) },
          source: "import",
          envelopeFrom: null,
          envelopeTo: [],
          remoteIp: null,
          remoteName: null,
          tls: null,
          auth: NOT_VERIFIED,
          kinds: [],
        }),
      reparse: (mails) => this.#ingest.reparse(mails.map((mail) => Number(mail.id.slice(1)))),
      feed: (name, lines, first) =>
        feeder.lines(
          name,
          lines.map((text, i) => ({ number: first + i, text })),
        ),
      stats: () => this.#stats(),
      status: () => this.#status(),
      pause: (subsystem, destination, who, reason) => {
        const changed = this.#pause(subsystem, destination, who, reason);
        this.#applyPauses();
        return changed;
      },
      resume: (subsystem, destination) => {
        const changed = this.#queue.resume(subsystem, destination);
        if (changed) this.#log.info("control.changed", { command: `resume ${subsystem}`, destination });
        this.#applyPauses();
        return changed;
      },
      audit: (command, detail) => {
        const who = "control socket";
        this.#queue.audit({ at: epochSeconds(clock), who, command, detail: JSON.stringify(detail) });
        this.#log.info("control.changed", { command, who, ...detail });
      },
      databases: this.#housekeeping,
      wakeDelivery: () => this.#delivery.wake(),
      reload: () => this.reload("control socket"),
      stop: () => void this.stop("control socket"),
      setLogLevel: (level) => sink.setLevel(level),
      now: () => epochSeconds(clock),
    };
  }

  #parts(): DaemonParts {
    return {
      archive: this.#archive,
      queue: this.#queue,
      ingest: this.#ingest,
      smtp: this.#smtp,
      verifier: this.#verifier,
      delivery: this.#delivery,
    };
  }

  async #stats(): Promise<Record<string, number>> {
    return {
      ...(await statsOf(this.#parts())),
      "daemon.loop.max_ms": Math.round(this.#loop.max / 1e6),
      "daemon.rss": process.memoryUsage().rss,
      "log.lost": this.#options.sink.lost(),
      uptime: epochSeconds(this.#options.clock) - this.#startedAt,
    };
  }

  #status(): StatusAnswer {
    return {
      version: VERSION,
      pid: process.pid,
      startedAt: this.#startedAt,
      hostname: this.#config.hostname,
      subsystems: subsystemsOf(this.#parts(), (subsystem) => this.#isPaused(subsystem)),
    };
  }

  logStatus(): void {
    this.#log.info("daemon.hint", { status: this.#status() });
  }

  /** Reads the configuration again: applied as a whole, or the old one stays. */
  async reload(who: string): Promise<ReloadAnswer> {
    const found = this.#options.reloadConfig();
    if (!found.ok) {
      this.#log.error("daemon.reload_refused", { who, problems: found.lines });
      return {
        ok: false,
        applied: [],
        needsRestart: [],
        problems: [...found.lines, "reload refused, still running the old configuration"],
      };
    }
    const { applied, needsRestart } = diffConfig(this.#config, found.config);
    this.#config = found.config;
    this.#smtp.reload(found.config);
    this.#ingest.reload(found.config);
    this.#options.sink.setLevel(found.config.log.level);
    this.#scheduler.wake();
    this.#delivery.wake();
    this.#log.info("daemon.reloaded", { who, applied, needs_restart: needsRestart });
    return { ok: true, applied, needsRestart, problems: [] };
  }

  /** Drains and stops, once; everything is undone in reverse. */
  stop(who: string): Promise<void> {
    this.#stopping ??= this.#drain(who);
    return this.#stopping;
  }

  async #drain(who: string): Promise<void> {
    this.#log.info("daemon.stopping", { who });
    for (const undo of this.#stops.splice(0).reverse()) {
      try {
        await undo();
      } catch (error) {
        this.#log.error("store.problem", { what: "stopping", error: errorText(error) });
      }
    }
    this.#loop.disable();
    this.#log.info("daemon.stopped");
    this.#resolveStopped();
  }
}
