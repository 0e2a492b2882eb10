/**
 * Ids of strings that recur: domains, organisations, source addresses, sets of authentication results, report heads. Bounded
 * caches before the tables; they are emptied when a transaction is rolled back, for ids inserted inside it are gone.
 */
import { hash } from "node:crypto";
import { packIp } from "../../../model/ip.ts";
import type { Sqlite } from "../open.ts";

/** Entries of each cache: some 10 MB for the largest. */
const CACHE_SIZE = 50_000;

export interface Interner {
  domain(name: string): number;
  org(name: string): number;
  source(ip: string): number;
  authset(body: string): number;
  head(body: string): number;
  /** Forgets all cached ids. */
  clear(): void;
}

function cached(load: (key: string) => number, caches: Map<string, number>[]): (key: string) => number {
  const cache = new Map<string, number>();
  caches.push(cache);
  return (key) => {
    const known = cache.get(key);
    if (known !== undefined) return known;
    if (cache.size >= CACHE_SIZE) cache.clear();
    const id = load(key);
    cache.set(key, id);
    return id;
  };
}

export function makeInterner(database: Sqlite): Interner {
  const caches: Map<string, number>[] = [];
  const pair = (select: string, insert: string) => {
    const find = database.prepare(select).pluck();
    const add = database.prepare(insert);
    return (key: unknown, ...more: unknown[]): number =>
      (find.get(key) as number | undefined) ?? Number(add.run(key, ...more).lastInsertRowid);
  };
  const domain = pair("SELECT id FROM domain WHERE name = ?", "INSERT INTO domain (name) VALUES (?)");
  const org = pair("SELECT id FROM org WHERE key = ?", "INSERT INTO org (key, name) VALUES (?, ?)");
  const source = pair("SELECT id FROM source WHERE ip = ?", "INSERT INTO source (ip) VALUES (?)");
  const text = (table: "authset" | "head") => {
    const find = pair(
      `SELECT id FROM ${table} WHERE hash = ?`,
      `INSERT INTO ${table} (hash, body) VALUES (?, ?)`,
    );
    return cached((body) => find(hash("sha256", body, "buffer").subarray(0, 16), body), caches);
  };
  return {
    domain: cached((name) => domain(name), caches),
    org: cached((name) => org(name.toLowerCase(), name), caches),
    source: cached((ip) => source(packIp(ip)), caches),
    authset: text("authset"),
    head: text("head"),
    clear() {
      for (const cache of caches) cache.clear();
    },
  };
}
