/** What the queue store throws when SQLite fails: errors of the catalogue, whichever method meets it. */
import { closeSync, mkdtempSync, openSync, rmSync, statSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { QueueStore } from "../../src/store/queue.ts";
import { openQueueStore } from "../../src/store/sqlite/queue/store.ts";
import { counted, DAY, evaluation, newMessage, OUTGOING } from "../support/events.ts";
import { canMount, SmallDisk } from "../support/small-disk.ts";

const NOW = DAY + 7200;

let dir: string;
let store: QueueStore;
let disk: SmallDisk | undefined;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "queue-faults-"));
});
afterEach(() => {
  store.close();
  disk?.remove();
  disk = undefined;
  rmSync(dir, { recursive: true, force: true });
});

describe("a damaged queue.db was a bug of the daemon", () => {
  const reads: readonly (readonly [string, () => unknown])[] = [
    ["outgoing", () => store.outgoing(OUTGOING)],
    ["listOutgoing", () => store.listOutgoing({}, { limit: 10 })],
    ["dueOutgoing", () => store.dueOutgoing(NOW * 2, 10, new Set())],
    ["tallies", () => store.tallies(OUTGOING)],
    ["envelope", () => store.envelope("0a0a0a0a00000001")],
    ["listEnvelopes", () => store.listEnvelopes({}, { limit: 10 })],
    ["message", () => store.message("0a0a0a0a")],
    ["rawMessage", () => store.rawMessage("0a0a0a0a")],
    ["suppressions", () => store.suppressions()],
    ["leaseEnvelopes", () => store.leaseEnvelopes(NOW, 10, new Set())],
  ];

  it.each(reads)("%s says that the database is damaged", (_, read) => {
    const path = join(dir, "queue.db");
    store = openQueueStore(path);
    store.count("f", [counted(evaluation())], NOW);
    store.compose(OUTGOING, [newMessage("0a0a0a0a", ["a@one.example"], NOW, OUTGOING)], NOW, null);
    store.close();
    store = openQueueStore(path);
    const file = openSync(path, "r+");
    writeSync(file, Buffer.alloc(statSync(path).size - 4096, 0xff), 0, undefined, 4096);
    closeSync(file);
    expect(read).toThrow(expect.objectContaining({ code: "store.corrupt" }));
  });
});

it.skipIf(!canMount())("a checkpoint on a full disk was a bug: it is store.full", () => {
  disk = new SmallDisk("4m");
  store = openQueueStore(join(disk.path, "queue.db"));
  for (let part = 0; part < 4; part++) store.stageRaw("0a0a0a0a", part, Buffer.alloc(200_000, part));
  disk.fill();
  expect(() => store.checkpoint()).toThrow(expect.objectContaining({ code: "store.full" }));
  disk.free();
  store.checkpoint();
});
