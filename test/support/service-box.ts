/**
 * All services over real databases with a fake clock. The ingest process is the writer of the archive in this process;
 * the daemon itself only notes what it is asked.
 */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Services } from "../../src/control/services.ts";
import { makeDatabases } from "../../src/daemon/databases.ts";
import { JobRegistry } from "../../src/daemon/jobs/registry.ts";
import { retentionJob } from "../../src/daemon/jobs/retention.ts";
import { Parts } from "../../src/daemon/parts.ts";
import { Pauses } from "../../src/daemon/pauses.ts";
import { makeServices, type ServiceOptions } from "../../src/daemon/services.ts";
import { makeFeeder } from "../../src/feed/batch.ts";
import { epochSeconds } from "../../src/lib/clock.ts";
import type { LogSink } from "../../src/lib/log/pino.ts";
import type { EnvelopeSelection } from "../../src/model/queue.ts";
import type { IngestPort } from "../../src/receive/port.ts";
import { makeCounter } from "../../src/report/counter.ts";
import type { DaemonStatus } from "../../src/services/daemon.ts";
import type { Operations } from "../../src/services/operation.ts";
import { copyDatabase } from "../../src/store/sqlite/copy.ts";
import { ArchiveBox, mailWithXml, read } from "./archive-box.ts";
import { ROOT } from "./build.ts";
import { dmarcXml } from "./reading.ts";
import { loggedEvents } from "./recorded-events.ts";
import { ReportRun } from "./report-run.ts";

/** The policy domain of what the box queues and counts. */
export const DOMAIN = "one.example";
/** A report mail. */
export const MAIL = mailWithXml(dmarcXml());

const running = { state: "running", detail: "" } as const;
const STATUS: DaemonStatus = {
  ...{ version: "1.0.0", pid: 1, startedAt: 1_795_132_800, hostname: "rx.example", unparsed: 0 },
  subsystems: { smtp: running, mda: running, mta: running, scheduler: running },
};

const COPY_PROGRAM = pathToFileURL(join(ROOT, "dist/store/sqlite/copy-worker.js"));

export class ServiceBox {
  readonly run = new ReportRun();
  readonly archive = new ArchiveBox();
  readonly services: Services;
  readonly operations: Operations;
  /** What was asked of the daemon itself. */
  readonly life: string[] = [];
  /** Whether the configuration can be loaded. */
  reloadable = true;

  constructor() {
    const { clock, log } = this.run;
    const parts = this.#parts();
    const options = {
      ...{ parts, pauses: new Pauses(parts), clock, events: loggedEvents(log, clock) },
      sink: { log, setLevel: (level: string) => void this.life.push(level) } as unknown as LogSink,
      status: () => STATUS,
      stats: async () => ({ uptime: 1 }),
      stop: (who: string) => void this.life.push(`stop by ${who}`),
      reload: async (who: string, dryRun: boolean) => {
        this.life.push(`${dryRun ? "check" : "reload"} by ${who}`);
        if (this.reloadable) return { ok: true, applied: ["a: 1 -> 2"], needsRestart: [], problems: [] };
        return { ok: false, applied: [], needsRestart: [], problems: ["a:1:1: wrong", "a:2:1: wrong"] };
      },
    };
    const made = makeServices(options as unknown as ServiceOptions);
    this.services = made.services;
    this.operations = made.operations;
  }

  #parts(): Parts {
    const { clock, log, store } = this.run;
    const { writer, reader: archive } = this.archive;
    const ingest = {
      acceptAndParse: async (intake) => (await this.archive.intake(intake))[0]!,
      reparse: (ids) => writer.reparse(ids, read),
      expire: (now, policy, rows) => writer.writer.expire(now, policy, rows),
      vacuum: (pages) => writer.writer.vacuum(pages),
      allParsed: async () => 0,
      unparsed: 0,
      parsing: "running",
      pauseParsing() {},
    } as Partial<IngestPort> as IngestPort;
    const parts = new Parts(this.run.config, () => null);
    const config = () => this.run.config;
    const events = loggedEvents(log, clock);
    const count = makeCounter({ config, store, clock, events, secret: Buffer.alloc(32, 1), onOpened() {} });
    const common = { config, clock, log, ingest, archive, queue: store };
    const jobs = new JobRegistry({ jobs: [retentionJob(common)], store, clock, log, events });
    Object.assign(parts.made, {
      ...{ queue: store, archive, ingest, jobs, scheduler: this.run.scheduler },
      feeder: makeFeeder({ config, clock, count, events }),
      databases: makeDatabases({
        ...common,
        archivePath: this.archive.path,
        queuePath: this.run.path,
        copy: (from, to, signal) =>
          copyDatabase(from, to, { ...(signal ? { signal } : {}), program: COPY_PROGRAM }),
        stopping: jobs.stopping,
        expired: () => jobs.dryRun("retention"),
        prune: async (who) => {
          const { run, failure } = await jobs.run("retention", who);
          return { deleted: run.detail ?? {}, failure: failure?.error ?? null };
        },
      }),
    });
    return parts;
  }

  async end(): Promise<void> {
    await this.run.end();
    await this.archive.remove();
  }

  /** Epoch seconds. */
  get now(): number {
    return epochSeconds(this.run.clock);
  }

  /** An open outgoing report; its id. */
  open(): string {
    this.run.feed(this.run.about(DOMAIN));
    return this.run.of(DOMAIN).id;
  }

  /** An envelope that waits for delivery; what selects it. */
  async queued(): Promise<{ readonly selection: EnvelopeSelection & { readonly ids: readonly [string] } }> {
    await this.run.requests.send(this.open());
    const [envelope] = this.run.store.listEnvelopes({}, { limit: 1 }).items;
    return { selection: { ids: [envelope!.id] } };
  }

  /** The same after an attempt. */
  async tried(state: "failed" | "delivered") {
    const asked = await this.queued();
    const { now } = this;
    const { id } = this.run.store.leaseEnvelopes(now, 1, new Set())[0]!;
    const reply = { at: now, host: null, ip: null, tls: null, code: null, enhanced: null, text: "" };
    const result = state === "failed" ? "permanent" : "delivered";
    this.run.store.settle(id, { result, reply, durationMs: 1 }, { state, nextAt: now }, now);
    return asked;
  }

  /** A line of a feed about a message of now. */
  get line(): string {
    return JSON.stringify({
      ...{ v: 1, kind: "dmarc", time: this.now, source_ip: "192.0.2.10", header_from: DOMAIN },
      ...{ policy: { domain: DOMAIN, p: "reject" }, disposition: "none" },
      ...{ dkim_aligned: true, spf_aligned: false },
    });
  }

  /** All rows of both databases. */
  content(): string {
    const archive = this.archive.sql((database) => {
      const tables = database
        .prepare<[], string>("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        .pluck()
        .all();
      return tables.map((table) => [table, database.prepare(`SELECT * FROM "${table}"`).all()]);
    });
    return `${JSON.stringify(archive)}\n${this.run.content()}`;
  }

  /** The entries of the audit table. */
  audit(): { readonly who: string; readonly command: string; readonly detail: Record<string, unknown> }[] {
    const rows = this.run.beside(
      (database) =>
        database.prepare("SELECT who, command, detail FROM audit").all() as Record<
          "who" | "command" | "detail",
          string
        >[],
    );
    return rows.map((row) => ({ ...row, detail: JSON.parse(row.detail) as Record<string, unknown> }));
  }
}
