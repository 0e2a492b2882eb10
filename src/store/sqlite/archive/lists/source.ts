/** What the sources of the lists of the archive have in common: how each is made, and names as ids. */
import type { Fields, Row } from "../../../../model/lists/field.ts";
import type { ArchiveListName, ArchiveRow } from "../../../../model/lists/lists.ts";
import type { ArchiveFilter, ArchivePage, ArchivePaged } from "../../../archive/reader.ts";
import type { Sqlite } from "../../open.ts";
import type { Scan, ScanIds } from "../scan.ts";
import type { Ask } from "../statement-cache.ts";

/** What a source asks with. */
export interface SourceTools {
  readonly database: Sqlite;
  readonly ask: Ask;
  /** Ids of what a filter names; undefined = any. */
  idsOf(filter: ArchiveFilter): ScanIds;
  domainId(name: string | undefined): number | undefined;
  readonly scan: Scan;
}

/** Answers pages of one list. */
export type ListSource<N extends ArchiveListName> = (
  filter: ArchiveFilter,
  page: ArchivePage,
) => ArchivePaged<ArchiveRow<N>>;

/** The one page of a list that is loaded as a whole. */
export const wholePage = <T>(items: readonly T[]): ArchivePaged<T> => ({ items, next: null });

/** A page of rows that were asked for with one more than `limit`. */
export function pageOf<T extends { readonly id: string }>(
  rows: readonly T[],
  limit: number,
): ArchivePaged<T> {
  const items = rows.slice(0, limit);
  return { items, next: rows.length > limit ? items.at(-1)!.id : null };
}

/**
 * Makes the function that turns rows of SQL, whose columns are the fields, into rows of the list: flags are 0 or 1 in
 * SQL, lists and objects are JSON.
 */
export function rowDecoder<F extends Fields>(fields: F): (row: object) => Row<F> {
  const decoders = Object.entries(fields).map(([name, { type }]) => [name, DECODERS[type] ?? same] as const);
  return (row) => {
    const columns = row as Readonly<Record<string, unknown>>;
    const decoded: Record<string, unknown> = {};
    for (const [name, decode] of decoders) {
      const value = columns[name];
      decoded[name] = value === null ? null : decode(value);
    }
    return decoded as Row<F>;
  };
}

const same = (value: unknown): unknown => value;
const fromJson = (value: unknown): unknown => JSON.parse(value as string);
const DECODERS: Readonly<Partial<Record<string, (value: unknown) => unknown>>> = {
  flag: (value) => value === 1,
  texts: fromJson,
  object: fromJson,
  objects: fromJson,
  map: fromJson,
};
