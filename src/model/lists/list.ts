/** The description of a list. A new list is one of these, registered in lists.ts, and its source in a store. */
import type { Fields, Row, WireRow } from "./field.ts";
import type { Filters } from "./filter.ts";

/** A column for a terminal, and for the fields of a pipe. It shows a field, or a text made of several. */
export interface Column<F extends Fields = Fields> {
  readonly title: string;
  /** The field that it shows, in the form of its type; in a pipe the plain value. */
  readonly field?: keyof F & string;
  /** day: the date of a time. share: the part that a number is of another field, `of`; in a pipe the number. */
  readonly form?: "day" | "share";
  readonly of?: keyof F & string;
  /** What a table shows instead of null. */
  readonly none?: string;
  /** A table shows `-` where this is false. */
  when?(item: WireRow<F>): boolean;
  /** Instead of the form of the field; in a pipe too where the column has no field. `now`: epoch milliseconds. */
  text?(item: WireRow<F>, now: number): string;
  /** In a pipe instead of `text`, for a column without a field. */
  plain?(item: WireRow<F>): string;
  readonly right?: boolean;
  /** Longer texts may be cut at their end, to no fewer characters than these. */
  readonly cut?: number;
  /** May be left out of a table that is too wide, those with the greatest number first. */
  readonly drop?: number;
}

/** A command of mailreportctl that shows the list. */
export interface ListCommand {
  readonly words: readonly string[];
  /** Of smtpctl itself. */
  readonly classic?: true;
  /** One operand, which is a filter. `forms`: what it may be, where not every text is accepted. */
  readonly operand?: {
    readonly name: string;
    readonly filter: string;
    readonly forms?: readonly string[];
    readonly accepts?: (text: string) => boolean;
  };
  /** A flag that shows another list instead. */
  readonly instead?: { readonly option: string; readonly list: string; readonly help: string };
  readonly examples?: readonly string[];
}

export interface List<F extends Fields = Fields, Q extends Filters = Filters> {
  /** The name of its route, `/v1/NAME`, and of its export. */
  readonly name: string;
  /** What it lists; the help of its commands. */
  readonly help: string;
  /** What answers it; `daemon`: the state of a part of the daemon. */
  readonly store: "archive" | "queue" | "daemon";
  /** pages: each page is a question to the store. whole: it is asked for once, as sums are. */
  readonly reading: "pages" | "whole";
  /** How the rows are sorted. */
  readonly order: string;
  /** What a cursor looks like; the one of a whole list is the number of rows before. */
  readonly cursor: RegExp;
  readonly fields: F;
  readonly filters: Q;
  readonly columns: readonly Column<F>[];
  /** Columns in a pipe, where they are others. */
  readonly plain?: readonly Column<F>[];
  readonly commands: readonly ListCommand[];
  /** A further name in `export`. */
  readonly alias?: string;
}

/** The cursor of lists that are loaded as a whole. */
export const PLACE = /^\d{1,9}$/;

/** Describes a list; its types are those of the description. */
export function defineList<const F extends Fields, const Q extends Filters>(list: List<F, Q>): List<F, Q> {
  return list;
}

export type RowOf<L> = L extends List<infer F, infer _Q> ? Row<F> : never;
