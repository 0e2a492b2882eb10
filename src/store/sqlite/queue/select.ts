/** WHERE clauses and keyset pages of the lists of queue.db. Values are always bound, never part of the text. */
import type { Paged } from "../../queue.ts";

export class Conditions {
  readonly #parts: string[] = [];
  readonly values: (string | number)[] = [];

  add(condition: string, ...values: (string | number)[]): this {
    this.#parts.push(condition);
    this.values.push(...values);
    return this;
  }

  oneOf(column: string, words: readonly string[]): this {
    return this.add(`${column} IN (${words.map(() => "?").join(", ") || "NULL"})`, ...words);
  }

  /** A domain exactly, or with `*.` all below it. */
  domain(column: string, text: string): this {
    if (!text.startsWith("*.")) return this.add(`${column} = ?`, text.toLowerCase());
    return this.endsWith(column, text.slice(1));
  }

  endsWith(column: string, text: string): this {
    const tail = text.toLowerCase();
    return this.add(`lower(substr(${column}, -${tail.length})) = ?`, tail);
  }

  toString(): string {
    return this.#parts.length === 0 ? "" : `WHERE ${this.#parts.join(" AND ")}`;
  }
}

/** A page of at most `limit` of `rows`, which hold one more than that when there is a next page. */
export function pageOf<R, T>(
  rows: readonly R[],
  limit: number,
  keyOf: (row: R) => string,
  itemOf: (row: R) => T,
): Paged<T> {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  return {
    items: shown.map(itemOf),
    next: rows.length > limit && last !== undefined ? keyOf(last) : null,
  };
}
