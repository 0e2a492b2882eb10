/** Answers about the daemon and its databases. */
import { z } from "zod";
import { iso } from "../../lib/units.ts";
import { SUBSYSTEMS } from "../../model/subsystems.ts";
import type { DaemonStatus } from "../../services/daemon.ts";
import { AT, COUNT, COUNTS, listOf } from "./common.ts";

export const VERSIONS = z.strictObject({
  name: z.literal("mailreportd"),
  version: z.string(),
  /** Versions of the control protocol. */
  api: listOf(z.number()),
  pid: z.number(),
  started_at: AT,
});

export const STATUS = z.strictObject({
  version: z.string(),
  pid: z.number(),
  started_at: AT,
  hostname: z.string(),
  unparsed: COUNT,
  subsystems: z.record(
    z.enum(SUBSYSTEMS),
    z.strictObject({ state: z.enum(["running", "paused", "waiting"]), detail: z.string() }),
  ),
});

export const STATS = COUNTS;

export const RELOADED = z.strictObject({
  ok: z.literal(true),
  applied: listOf(z.string()),
  needs_restart: listOf(z.string()),
  dry_run: z.boolean(),
});

export const STOPPING = z.strictObject({ stopping: z.literal(true) });

export const LOG_LEVEL = z.strictObject({ level: z.enum(["brief", "verbose"]) });

export const BACKUP = z.strictObject({
  files: listOf(z.strictObject({ path: z.string(), bytes: COUNT })),
});

export const INTEGRITY = z.strictObject({ ok: z.boolean(), problems: listOf(z.string()) });

export const VACUUMED = z.strictObject({ freed: COUNT });

/** Number of deleted things by kind; with `dry_run` true of those that would be deleted. */
export const PRUNED = z.record(z.string(), z.union([COUNT, z.string(), z.boolean()]));

const SIZES = { path: z.string(), bytes: COUNT, wal_bytes: COUNT };

export const DATABASE_STATS = z.strictObject({
  archive: z.strictObject({
    ...SIZES,
    page_size: COUNT,
    pages: COUNT,
    free_pages: COUNT,
    raw_mails: COUNT,
    raw_bytes: COUNT,
    records: COUNT,
    bytes_per_record: COUNT.nullable(),
  }),
  /** With the counters of the queue. */
  queue: z.object(SIZES).catchall(z.union([z.string(), COUNT])),
});

export const statusView = ({ startedAt, ...status }: DaemonStatus) => ({
  version: status.version,
  pid: status.pid,
  started_at: iso(startedAt),
  hostname: status.hostname,
  unparsed: status.unparsed,
  subsystems: status.subsystems,
});
