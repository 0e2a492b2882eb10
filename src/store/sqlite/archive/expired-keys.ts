/**
 * Keys of reports that have expired while the day sums that they went into have not: a late copy is still a duplicate,
 * or a conflict. The name of the organisation is part of the key, since its row may have expired and come again.
 */
import { hash } from "node:crypto";
import type { Sqlite } from "../open.ts";
import type { ReportKey } from "./report-keys.ts";

/** Bytes of each hash that are stored. */
const HASH_BYTES = 16;

export interface ExpiredReport {
  /** The begin of the hash of its content. */
  readonly content_hash: Buffer;
}

export interface ExpiredKeys {
  /** The expired report with this key. Reports without a period of their own leave no key. */
  find(key: ReportKey): ExpiredReport | undefined;
  /** A report expires, and its sums stay. */
  add(key: ReportKey, contentHash: Uint8Array): void;
}

function digest({ kind, org, reportId, domains, begin, end }: ReportKey): Buffer {
  const text = JSON.stringify([kind, org.toLowerCase(), reportId, domains.join(","), begin, end]);
  return hash("sha256", text, "buffer").subarray(0, HASH_BYTES);
}

export function makeExpiredKeys(database: Sqlite): ExpiredKeys {
  const find = database.prepare<[Buffer], ExpiredReport>(
    "SELECT content_hash FROM expired_report WHERE key = ?",
  );
  const add = database.prepare(
    `INSERT INTO expired_report (key, content_hash, "end") VALUES (?, ?, ?)
     ON CONFLICT DO UPDATE SET content_hash = excluded.content_hash, "end" = excluded."end"`,
  );
  return {
    find: (key) => (key.kind === "dmarc" || key.kind === "tls" ? find.get(digest(key)) : undefined),
    add(key, contentHash) {
      add.run(digest(key), contentHash.subarray(0, HASH_BYTES), key.end);
    },
  };
}
