/** The parts of the daemon, as far as its start has made them, and the configuration in force. */
import type { Config } from "../config/schema.ts";
import type { Delivery } from "../deliver/runner.ts";
import type { Feeder } from "../feed/batch.ts";
import type { FeedSource } from "../feed/source.ts";
import type { SigningKey } from "../format/mail/dkim-sign.ts";
import { MailreportError } from "../lib/errors.ts";
import type { MessageVerifier } from "../receive/auth/verify.ts";
import type { Ingest } from "../receive/ingest/supervisor.ts";
import type { SmtpListeners } from "../receive/smtp/server.ts";
import type { Composer } from "../report/compose/job.ts";
import type { Scheduler } from "../report/scheduler.ts";
import type { Maintenance } from "../services/databases.ts";
import type { ArchiveQuestions } from "../store/archive/reader.ts";
import type { QueueStore } from "../store/queue.ts";
import type { JobRegistry } from "./jobs/registry.ts";
import { late } from "./late.ts";
import type { Names } from "./names.ts";

export interface PartTypes {
  readonly names: Names;
  readonly verifier: MessageVerifier;
  readonly smtp: SmtpListeners;
  readonly queue: QueueStore;
  /** Of this installation: it marks our return paths and spreads due times. */
  readonly secret: Uint8Array;
  readonly ingest: Ingest;
  readonly archive: ArchiveQuestions;
  readonly feeder: Feeder;
  readonly feeds: readonly FeedSource[];
  readonly scheduler: Scheduler;
  readonly delivery: Delivery;
  readonly composer: Composer;
  readonly databases: Maintenance;
  readonly jobs: JobRegistry;
}

export class Parts {
  /** In force; a reload replaces it. */
  config: Config;
  /** The keys that sign our mail; a reload replaces them. */
  keys: readonly SigningKey[] = [];
  /** Those that exist. */
  readonly made: { -readonly [Name in keyof PartTypes]?: PartTypes[Name] } = {};
  readonly #problem: () => MailreportError | null;

  /** @param problem what the start waits for, if it waits */
  constructor(config: Config, problem: () => MailreportError | null) {
    this.config = config;
    this.#problem = problem;
  }

  /** A part that the start has made. Errors: what the start waits for; `daemon.starting`. */
  need<Name extends keyof PartTypes>(name: Name): PartTypes[Name] {
    const part = this.made[name];
    if (part !== undefined) return part as PartTypes[Name];
    throw this.#problem() ?? new MailreportError("daemon.starting");
  }

  /** A stand-in for a part: each use of it is a `need`. */
  late<Name extends keyof PartTypes>(name: Name): PartTypes[Name] {
    return late<PartTypes[Name]>(() => this.need(name));
  }
}
