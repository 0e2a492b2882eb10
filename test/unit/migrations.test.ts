/** A migration that is in use is never edited: databases that have it would differ from those that get it later. */
import { hash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { ARCHIVE_MIGRATIONS } from "../../src/store/sqlite/archive/schema.ts";
import type { Migration } from "../../src/store/sqlite/migrate.ts";
import { QUEUE_MIGRATIONS } from "../../src/store/sqlite/queue/schema.ts";

/** SHA-256 of what each migration does, the first one first. A new migration is appended; no hash is ever changed. */
const RELEASED = {
  archive: [
    "b886e5ea6b1011653c4506aeb1f5ead8",
    "6c83e4287475642d95d72d648ca85ac7",
    "b6f49f147a3d82f08be349a6fbc00f78",
  ],
  queue: [
    "8f16015b30e8fb55ef0bd6e2bbd3646f",
    "847afdbb83e12e33803b48ca72c9645e",
    "29531a5188ca11a8797fe6817c8e9687",
    "2fc1581c2c540557b27e499f54d095b1",
    "9f62ad094f8c8a6de3858e55bb907d43",
  ],
} as const;

const digest = ({ sql, run, breaking }: Migration): string =>
  hash("sha256", JSON.stringify([sql, run === undefined ? null : "run", breaking])).slice(0, 32);

describe("migrations", () => {
  it.each([
    ["archive", ARCHIVE_MIGRATIONS],
    ["queue", QUEUE_MIGRATIONS],
  ] as const)("of the %s are as they were released", (name, migrations) => {
    expect(migrations.map(digest)).toEqual(RELEASED[name]);
  });
});
