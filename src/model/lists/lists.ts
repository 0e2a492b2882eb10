/** All lists by name, in the order of their commands. Routes, commands, exports and the manual derive from this. */
import { DAYS } from "./days.ts";
import { DOMAINS } from "./domains.ts";
import { DSN } from "./dsn.ts";
import { FAILURES } from "./failures.ts";
import type { ARCHIVE_FILTERS, FilterValues } from "./filter.ts";
import { JOBS } from "./jobs.ts";
import type { List, RowOf } from "./list.ts";
import { OUTGOING } from "./outgoing.ts";
import { PAUSES } from "./pauses.ts";
import { QUEUE } from "./queue.ts";
import { RECEIVED } from "./received.ts";
import { RECORDS } from "./records.ts";
import { REPORTERS } from "./reporters.ts";
import { REPORTS } from "./reports.ts";
import { SOURCES } from "./sources.ts";
import { SUPPRESSIONS } from "./suppressions.ts";
import { TLS } from "./tls.ts";

/** Lists of the archive. */
export const ARCHIVE_LISTS = {
  received: RECEIVED,
  reports: REPORTS,
  records: RECORDS,
  domains: DOMAINS,
  sources: SOURCES,
  reporters: REPORTERS,
  tls: TLS,
  failures: FAILURES,
  dsn: DSN,
  days: DAYS,
} as const;

/** Lists of the queue. */
export const QUEUE_LISTS = {
  queue: QUEUE,
  outgoing: OUTGOING,
  suppressions: SUPPRESSIONS,
  pauses: PAUSES,
} as const;

/** Lists of what parts of the daemon know. */
export const DAEMON_LISTS = { jobs: JOBS } as const;

export type ArchiveListName = keyof typeof ARCHIVE_LISTS;
export type QueueListName = keyof typeof QUEUE_LISTS;
export type DaemonListName = keyof typeof DAEMON_LISTS;
export type DaemonRow<N extends DaemonListName> = RowOf<(typeof DAEMON_LISTS)[N]>;
export type ArchiveRow<N extends ArchiveListName> = RowOf<(typeof ARCHIVE_LISTS)[N]>;
export type QueueRow<N extends QueueListName> = RowOf<(typeof QUEUE_LISTS)[N]>;
/** Values of all filters of the archive; each list has some of them. */
export type ArchiveFilterValues = FilterValues<typeof ARCHIVE_FILTERS>;
/** Values of the filters of a list of the queue. */
export type QueueFilterValues<N extends QueueListName> = FilterValues<(typeof QUEUE_LISTS)[N]["filters"]>;

const { queue, outgoing, suppressions, pauses } = QUEUE_LISTS;
export const LISTS: readonly List[] = [
  queue,
  outgoing,
  ...Object.values(ARCHIVE_LISTS),
  suppressions,
  pauses,
  ...Object.values(DAEMON_LISTS),
];

/** In the order of exports: first those of the archive. */
export const EXPORTS: readonly List[] = [
  ...Object.values(ARCHIVE_LISTS),
  ...Object.values(QUEUE_LISTS),
  ...Object.values(DAEMON_LISTS),
];

/** The list of a name. Throws for a name that is none. */
export function listOf(name: string): List {
  const list = LISTS.find((each) => each.name === name);
  if (list === undefined) throw new TypeError(`no such list: ${name}`);
  return list;
}
