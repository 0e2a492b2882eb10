/** Group and mode of the sockets, on real ones. */
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { makeRuntimeDirectory } from "../../src/daemon/setup.ts";
import type { Feeder } from "../../src/feed/batch.ts";
import { startFeedSocket } from "../../src/feed/socket.ts";
import { silentLog } from "../../src/lib/log/log.ts";
import { groupId } from "../../src/lib/unix-socket.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { noEvents } from "../support/recorded-events.ts";

/** A group that this process may give a file to: any for root, else one of its own. */
const GROUP = process.getuid?.() === 0 ? 12_345 : process.getgroups!()[0]!;
const feeder = { lines: () => ({ accepted: 0, repeated: 0, rejected: 0, errors: [] }) } as unknown as Feeder;

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "access-"));
});
afterEach(() => rmSync(dir, { recursive: true }));

const open = (options: { readonly group?: string; readonly mode?: number }) =>
  startFeedSocket({
    name: "mta",
    path: join(dir, "feed.sock"),
    feeder,
    clock: new FakeClock(),
    log: silentLog,
    events: noEvents,
    ...options,
  });

describe("a feed socket", () => {
  it("could not be opened to the mail server: it has the group and mode of its configuration", async () => {
    const socket = await open({ group: String(GROUP), mode: 0o660 });
    const { gid, mode } = statSync(join(dir, "feed.sock"));
    expect([gid, mode & 0o777]).toEqual([GROUP, 0o660]);
    await socket.stop();
  });

  it("without a group keeps that of the process, mode 0660", async () => {
    const socket = await open({});
    const { gid, mode } = statSync(join(dir, "feed.sock"));
    expect([gid, mode & 0o777]).toEqual([process.getgid!(), 0o660]);
    await socket.stop();
  });

  it("names an unknown group, and does not go on listening", async () => {
    await expect(open({ group: "no-such-group" })).rejects.toMatchObject({
      code: "config.invalid",
      detail: "feed mta: group: no group no-such-group",
    });
    const socket = await open({}); // the path is free again
    await socket.stop();
  });
});

describe("the runtime directory", () => {
  it("is open to all when the daemon makes it, whatever the umask", () => {
    const umask = process.umask(0o077);
    makeRuntimeDirectory(join(dir, "run"));
    process.umask(umask);
    expect(statSync(join(dir, "run")).mode & 0o777).toBe(0o755);
  });

  it("keeps its mode when it exists", () => {
    makeRuntimeDirectory(dir);
    expect(statSync(dir).mode & 0o777).toBe(0o700);
  });

  it("that cannot be made is named", () => {
    const path = join("/dev/null", "run");
    expect(() => makeRuntimeDirectory(path)).toThrow(
      expect.objectContaining({ code: "daemon.state_unusable", detail: expect.stringContaining(path) }),
    );
  });
});

describe("a group", () => {
  it("is found by name or number", () => {
    expect(groupId("root")).toBe(0);
    expect(groupId("4711")).toBe(4711);
    expect(groupId("no-such-group")).toBeUndefined();
  });
});
