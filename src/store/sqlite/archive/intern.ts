/**
 * Ids of strings that recur: domains, organisations, source addresses, sets of authentication results, report heads. Each
 * row notes the last month in which something referred to it, so that it can be deleted by index when all of that has
 * expired. Bounded caches before the tables; they are emptied when a transaction is rolled back or rows are deleted.
 */
import { hash } from "node:crypto";
import { packIp } from "../../../model/ip.ts";
import type { Sqlite } from "../open.ts";

/** Entries of each cache: some 10 MB for the largest. */
const CACHE_SIZE = 50_000;
/** Seconds of a month, as rows note it. */
const MONTH = 2_592_000;

/** The month of a time, epoch seconds, as rows note it. */
export function monthOf(time: number): number {
  return Math.floor(time / MONTH);
}

/**
 * Ids by value; a row that is not there is made. `month` is that of what refers to it: for sources, authsets and heads
 * when the mail was received; for domains and organisations, which day sums refer to, the later one of that and the end
 * of the report's period.
 */
export interface Interner {
  domain(name: string, month: number): number;
  org(name: string, month: number): number;
  source(ip: string, month: number): number;
  authset(body: string, month: number): number;
  head(body: string, month: number): number;
  /** Forgets all cached ids. */
  clear(): void;
}

interface Row {
  readonly id: number;
  used: number;
}

interface Table {
  readonly name: "domain" | "org" | "source" | "authset" | "head";
  /** The unique column. */
  readonly key: string;
  /** The columns that a new row needs besides. */
  readonly more?: string;
  /** The values of these columns, for a text. */
  readonly values: (text: string) => readonly unknown[];
}

export function makeInterner(database: Sqlite): Interner {
  const caches: Map<string, Row>[] = [];

  function interned({ name, key, more, values }: Table): (text: string, month: number) => number {
    const cache = new Map<string, Row>();
    caches.push(cache);
    const find = database.prepare<[unknown], Row>(`SELECT id, used FROM ${name} WHERE ${key} = ?`);
    const columns = more === undefined ? key : `${key}, ${more}`;
    const add = database.prepare(
      `INSERT INTO ${name} (${columns}, used) VALUES (${more === undefined ? "?" : "?, ?"}, ?)`,
    );
    const use = database.prepare(`UPDATE ${name} SET used = ? WHERE id = ?`);
    const load = (text: string, month: number): Row => {
      const row = values(text);
      return find.get(row[0]) ?? { id: Number(add.run(...row, month).lastInsertRowid), used: month };
    };
    return (text, month) => {
      let row = cache.get(text);
      if (row === undefined) {
        if (cache.size >= CACHE_SIZE) cache.clear();
        row = load(text, month);
        cache.set(text, row);
      }
      if (row.used < month) {
        use.run(month, row.id);
        row.used = month;
      }
      return row.id;
    };
  }

  const digest = (body: string): Buffer => hash("sha256", body, "buffer").subarray(0, 16);
  const text = (name: "authset" | "head"): Table => ({
    name,
    key: "hash",
    more: "body",
    values: (body) => [digest(body), body],
  });
  return {
    domain: interned({ name: "domain", key: "name", values: (name) => [name] }),
    org: interned({ name: "org", key: "key", more: "name", values: (name) => [name.toLowerCase(), name] }),
    source: interned({ name: "source", key: "ip", values: (ip) => [packIp(ip)] }),
    authset: interned(text("authset")),
    head: interned(text("head")),
    clear() {
      for (const cache of caches) cache.clear();
    },
  };
}
