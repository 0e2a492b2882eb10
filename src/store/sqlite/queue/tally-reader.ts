/** Reads tallies beside the writer, over a connection of its own: for the thread that composes reports. */
import type { OutgoingKind, TallyRows, TallySums } from "../../../model/outgoing.ts";
import { guarded, openDatabase } from "../open.ts";
import { makeTallyRead } from "./tallies.ts";

export interface TallyReader {
  /** The tallies of a report and its sums, as of one moment; undefined when there is no such report. */
  read(id: string): { readonly rows: TallyRows; readonly seen: TallySums } | undefined;
  /** Copies what is committed from the log into the database file, so that no commit of the writer has to. */
  checkpoint(): void;
  close(): void;
}

/** Errors: those of `openDatabase`. */
export function openTallyReader(path: string): TallyReader {
  // not read-only: it checkpoints; it writes nothing else
  const database = openDatabase(path, { cacheKiB: 4096 });
  const find = database.prepare<[string], { no: number; kind: OutgoingKind } & TallySums>(
    "SELECT no, kind, rows, messages FROM outgoing JOIN outgoing_sum ON outgoing = no WHERE id = ?",
  );
  const readTallies = makeTallyRead(database);
  const read = database.transaction((id: string) => {
    const found = find.get(id);
    if (!found) return undefined;
    const { no, kind, rows, messages } = found;
    return { rows: readTallies(no, kind), seen: { rows, messages } };
  }).deferred;
  return {
    read: (id) => guarded(() => read(id), "queue"),
    checkpoint: () => guarded(() => void database.pragma("wal_checkpoint(PASSIVE)"), "queue"),
    close: () => void database.close(),
  };
}
