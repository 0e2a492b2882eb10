/** Counting and composing as the daemon does it, over a real queue.db, with a fake clock and DNS as data. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import Database from "better-sqlite3";
import type { Config } from "../../src/config/schema.ts";
import type { Resolver } from "../../src/dns/resolver.ts";
import { parseZone, zoneResolver } from "../../src/dns/zone.ts";
import { generateSigningKey, loadSigningKey, type SigningKey } from "../../src/format/mail/dkim-sign.ts";
import { epochSeconds } from "../../src/lib/clock.ts";
import type { Log, LogEvent, LogFields } from "../../src/lib/log/log.ts";
import type { FeedEvent } from "../../src/model/evaluation.ts";
import type { OutgoingReport } from "../../src/model/outgoing.ts";
import type { ComposeJob } from "../../src/report/compose/job.ts";
import { makeCounter } from "../../src/report/counter.ts";
import type { OutgoingRequests } from "../../src/report/requests.ts";
import { Scheduler } from "../../src/report/scheduler.ts";
import type { QueueStore } from "../../src/store/queue.ts";
import { openQueueStore } from "../../src/store/sqlite/queue/store.ts";
import { inlineComposer } from "./composer.ts";
import { evaluation, POLICY } from "./events.ts";
import { FakeClock } from "./fake-clock.ts";
import { loggedEvents } from "./recorded-events.ts";
import { testConfig } from "./test-config.ts";

export const HOUR = 3_600_000;
const SECRET = Buffer.alloc(32, 1);
const KEY = loadSigningKey(generateSigningKey("ed25519"), "reporter.example", "e1");

const ZONE = ["one", "two", "three", "four", "five", "six"]
  .map((name) => `_dmarc.${name}.example TXT "v=DMARC1; p=none; rua=mailto:r@${name}.example"`)
  .concat(
    '_dmarc.silent.example TXT "v=DMARC1; p=none"',
    "_dmarc.broken.example SERVFAIL",
    '_smtp._tls.one.example TXT "v=TLSRPTv1;rua=mailto:tls@one.example"',
  )
  .join("\n");

export interface Line {
  readonly level: string;
  readonly event: LogEvent;
  readonly fields: LogFields;
}

/** Keeps what is logged. */
function keepingLog(lines: Line[]): Log {
  const at =
    (level: string) =>
    (event: LogEvent, fields: LogFields = {}): void =>
      void lines.push({ level, event, fields });
  const log: Log = {
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    child: () => log,
  };
  return log;
}

export class ReportRun {
  readonly dir = mkdtempSync(join(tmpdir(), "report-run-"));
  readonly path = join(this.dir, "queue.db");
  readonly clock = new FakeClock("2026-11-19T02:00:00Z");
  readonly lines: Line[] = [];
  readonly log = keepingLog(this.lines);
  readonly events = loggedEvents(this.log, this.clock);
  config: Config = testConfig();
  keys: readonly SigningKey[] = [KEY];
  resolver: Resolver = zoneResolver(parseZone(ZONE));
  /** Called before each composition; what it throws or rejects with is its error. */
  beforeComposing: (job: ComposeJob) => void | Promise<void> = () => {};
  onComposed: () => void = () => {};
  /** Policy domains of the jobs so far. */
  readonly jobs: string[] = [];
  /** The store as it is; faults go into `faults`. */
  store!: QueueStore;
  /** Methods that stand before those of the store. */
  faults: Partial<QueueStore> = {};
  scheduler!: Scheduler;
  #count!: ReturnType<typeof makeCounter>;

  constructor() {
    this.start();
  }

  start(): void {
    this.store = openQueueStore(this.path, { maxRows: () => this.config.report.max_rows });
    const store = new Proxy(this.store, {
      get: (real, name: keyof QueueStore) => this.faults[name] ?? real[name],
    });
    const { clock, log, events } = this;
    const config = (): Config => this.config;
    this.scheduler = new Scheduler({
      config,
      store,
      composer: inlineComposer(this.path, (job) => {
        this.jobs.push(job.policyDomain);
        return this.beforeComposing(job);
      }),
      resolver: { ...this.resolver, txt: (name) => this.resolver.txt(name) },
      clock,
      log,
      events,
      secret: SECRET,
      keys: () => this.keys,
      version: "1.0.0",
      paused: () => false,
      onComposed: () => this.onComposed(),
    });
    const onOpened = (): void => this.scheduler.wake();
    this.#count = makeCounter({ config, store, clock, secret: SECRET, events, onOpened });
    this.scheduler.start();
  }

  reconfigure(settings: Record<string, unknown>, keys: readonly SigningKey[] = this.keys): void {
    this.config = testConfig(settings);
    this.keys = keys;
  }

  async restart(): Promise<void> {
    await this.scheduler.stop();
    this.store.close();
    this.start();
  }

  async end(): Promise<void> {
    await this.scheduler.stop();
    this.store.close();
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** What operators ask. The scheduler is woken after each call, as the services do. */
  get requests(): OutgoingRequests {
    const { scheduler } = this;
    return new Proxy(scheduler.requests, {
      get: (requests, name) => {
        const method: unknown = Reflect.get(requests, name, requests);
        if (typeof method !== "function") return method;
        return (...args: unknown[]): unknown => {
          try {
            const result: unknown = method.apply(requests, args);
            return result instanceof Promise ? result.finally(() => scheduler.wake()) : result;
          } finally {
            scheduler.wake();
          }
        };
      },
    });
  }

  feed(...events: readonly FeedEvent[]) {
    return this.#count("f", events);
  }

  /** An evaluation of now about a policy domain. */
  about(domain: string, more: Parameters<typeof evaluation>[0] = {}): FeedEvent {
    return evaluation({
      policy: { ...POLICY, domain },
      rua: [`mailto:r@${domain}`],
      time: epochSeconds(this.clock),
      ...more,
      row: { headerFrom: domain, ...more.row },
    });
  }

  /** Lets time pass, in steps that are short beside all waits, each until nothing is being done. */
  async pass(hours: number): Promise<void> {
    for (let left = hours * HOUR; left > 0; left -= HOUR / 4) {
      await this.clock.advance(Math.min(left, HOUR / 4));
      await this.scheduler.idle();
    }
  }

  reports(): OutgoingReport[] {
    return [...this.store.listOutgoing({}, { limit: 1000 }).items];
  }

  of(domain: string): OutgoingReport {
    const found = this.reports().filter((each) => each.policyDomain === domain);
    if (found.length !== 1) throw new Error(`${found.length} reports about ${domain}`);
    return found[0]!;
  }

  states(): Record<string, string> {
    return Object.fromEntries(this.reports().map((each) => [each.policyDomain, each.state]));
  }

  /** Sum of the counts in a queued report. */
  countIn(messageId: string): number {
    const raw = Buffer.from(this.store.rawMessage(messageId)!).toString("latin1");
    const body = raw.slice(raw.indexOf("base64", raw.indexOf("application/")));
    const base64 = body.slice(body.indexOf("\r\n\r\n")).split("\r\n--")[0]!;
    const xml = gunzipSync(Buffer.from(base64, "base64")).toString("utf8");
    return [...xml.matchAll(/<count>(\d+)<\/count>/g)].reduce((sum, [, n]) => sum + Number(n), 0);
  }

  /** Runs `work` with a connection of another process, as it were. */
  beside<T>(work: (database: Database.Database) => T): T {
    const database = new Database(this.path, { timeout: 0 });
    try {
      return work(database);
    } finally {
      database.close();
    }
  }

  /** Everything in queue.db, as text. */
  content(): string {
    return this.beside((database) => {
      const tables = database
        .prepare<[], string>("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        .pluck()
        .all();
      return tables
        .map((table) => `${table}\n${JSON.stringify(database.prepare(`SELECT * FROM ${table}`).all())}`)
        .join("\n");
    });
  }

  /** Sums over the tallies that are there, whatever the reports say. */
  tallied(): { readonly rows: number; readonly count: number } {
    return this.beside(
      (database) =>
        database
          .prepare("SELECT count(*) AS rows, coalesce(sum(count), 0) AS count FROM tally_count")
          .get() as { rows: number; count: number },
    );
  }
}
