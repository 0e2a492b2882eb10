/** Every list over the control socket, on real databases: rows, filters, pages, and what mailreportctl makes of them. */
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { lineSchema } from "../../src/control/answers/lists.ts";
import { type ControlServer, startControl } from "../../src/control/server.ts";
import type { Services } from "../../src/control/services.ts";
import { run } from "../../src/ctl/run/run.ts";
import { rowEncoder } from "../../src/model/lists/field.ts";
import type { Filter } from "../../src/model/lists/filter.ts";
import type { List } from "../../src/model/lists/list.ts";
import {
  ARCHIVE_LISTS,
  type ArchiveListName,
  type DaemonRow,
  LISTS,
  QUEUE_LISTS,
  type QueueListName,
} from "../../src/model/lists/lists.ts";
import { makeQueueLists } from "../../src/services/questions.ts";
import type { ArchiveReader } from "../../src/store/archive/reader.ts";
import type { QueueStore } from "../../src/store/queue.ts";
import { queueList } from "../../src/store/queue-lists.ts";
import { openArchiveReader } from "../../src/store/sqlite/archive/reader.ts";
import { openQueueStore } from "../../src/store/sqlite/queue/store.ts";
import { mailWithXml } from "../support/archive-box.ts";
import { ROOT } from "../support/build.ts";
import { ndjson } from "../support/daemon.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { keepingLog } from "../support/keeping-log.ts";
import { ParsingArchive } from "../support/parsing-archive.ts";
import { dmarcXml, NOW } from "../support/reading.ts";
import { testConfig } from "../support/test-config.ts";

/** Databases with mails and reports of all kinds, envelopes, outgoing reports, pauses and suppressions. */
const SEED = join(ROOT, "test/data/databases/schema-1");
const KINDS = ["dmarc", "tls", "failure", "arf", "dsn"] as const;

/** A job after a run that failed. */
const JOB: DaemonRow<"jobs"> = {
  name: "retention",
  about: "deletes what has expired",
  schedule: "every 1h",
  state: "failed",
  last_at: NOW - 60,
  last: {
    begun_at: NOW - 60,
    ended_at: NOW - 59,
    took_ms: 900,
    result: "failed",
    who: "schedule",
    error: { code: "store.full", message: "no space left for the database" },
    detail: { rows: 7 },
  },
  next_at: NOW + 3540,
  runs: 2,
  failures: 1,
};

type Line = Record<string, unknown>;

let dir: string;
let socketPath: string;
let archive: ArchiveReader;
let queue: QueueStore;
let server: ControlServer;
const logged: Line[] = [];

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "lists-"));
  for (const name of ["archive.db", "queue.db"]) copyFileSync(join(SEED, name), join(dir, name));
  const writer = ParsingArchive.open(join(dir, "archive.db"));
  // with members that records rarely have
  const rare = dmarcXml("rare")
    .replace("<dkim>pass</dkim>", "<dkim>PASS!</dkim>")
    .replace(
      "</policy_evaluated>",
      "<reason><type>arc</type><comment>by rule</comment></reason></policy_evaluated>",
    )
    .replace("</spf></auth_results>", "<human_result>not listed</human_result></spf></auth_results>");
  await writer.intake([{ intake: mailWithXml(rare), parseNow: true }]);
  await writer.close();
  archive = openArchiveReader(join(dir, "archive.db"));
  queue = openQueueStore(join(dir, "queue.db"));
  socketPath = join(dir, "control.sock");
  const log = keepingLog(logged);
  const services = {
    archive: { ...archive, for: () => archive },
    queue: makeQueueLists(queue, new FakeClock(NOW * 1000)),
    mails: { parsed: async () => 0 },
    jobs: { list: () => [JOB] },
  } as unknown as Services;
  const config = testConfig();
  server = await startControl(
    { ...config, control: { ...config.control, socket: socketPath } },
    services,
    log,
  );
});
afterAll(async () => {
  await server.stop();
  queue.close();
  await archive.close();
  rmSync(dir, { recursive: true, force: true });
});

async function get(path: string): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path, headers: { host: "mailreportd" } }, async (response) => {
      let text = "";
      for await (const chunk of response) text += String(chunk);
      resolve({ status: response.statusCode ?? 0, text });
    });
    asked.on("error", reject).end();
  });
}

/** The lines of a list; it must be answered. */
async function lines(path: string): Promise<Line[]> {
  const { status, text } = await get(path);
  expect([path, status, text.slice(0, status === 200 ? 0 : 500)]).toEqual([path, 200, ""]);
  return ndjson(text);
}

/** The rows of a list, without its end record. */
const rows = async (path: string): Promise<Line[]> => (await lines(path)).slice(0, -1);

/** A query that shows as much of a list as there is. */
const WIDE: Readonly<Record<string, string>> = {
  outgoing: "?state=any",
  suppressions: "?all=true",
  sources: "?all=true",
};
const wide = ({ name }: List): string => `/v1/${name}${WIDE[name] ?? ""}`;

/** A value that a filter takes. */
function typedFor({ type, values }: Filter): string {
  if (type === "flag") return "true";
  return type === "text" ? (values?.[0] ?? "example.com") : String(NOW);
}

/** Rows of the store, as it gives them. */
async function stored(list: List): Promise<readonly object[]> {
  const page = { limit: 100_000 };
  if (list.store === "archive")
    return (await archive.list(list.name as ArchiveListName, { all: true }, page)).items;
  if (list.store === "daemon") return [JOB];
  const filter = list.name === "outgoing" ? { state: "any" as const } : { all: true };
  return queueList(queue, list.name as QueueListName, filter, page, NOW).items;
}

describe.each(LISTS.map((list) => [list.name, list] as const))("the list %s", (name, list) => {
  it("a row of the store lacked a field, or had another: they are exactly those of the list", async () => {
    const items = await stored(list);
    expect(items.length).toBeGreaterThan(0);
    for (const item of items) expect(Object.keys(item).sort()).toEqual(Object.keys(list.fields).sort());
  });

  it("an answer that its schema does not describe was sent: each line is valid, its fields in their order", async () => {
    const schema = lineSchema(list);
    const answer = await lines(wide(list));
    for (const line of answer) expect(schema.safeParse(line).error, JSON.stringify(line)).toBeUndefined();
    const items = answer.slice(0, -1);
    expect(answer.at(-1)).toEqual({ end: { count: items.length, next: null } });
    expect(items.length).toBe((await stored(list)).length);
    for (const item of items) expect(Object.keys(item)).toEqual(Object.keys(list.fields));
    expect(items).toEqual((await stored(list)).map((row) => rowEncoder(list.fields)(row as never)));
  });

  it("the schema takes no row with a field too many or too few", async () => {
    const schema = lineSchema(list);
    const [item] = await rows(wide(list));
    expect(schema.safeParse({ ...item, more: 1 }).success).toBe(false);
    for (const field of Object.keys(list.fields)) {
      const { [field]: _gone, ...rest } = item!;
      expect(schema.safeParse(rest).success, field).toBe(false);
    }
  });

  it("each filter is accepted, and a value that is none is refused with its name", async () => {
    for (const [filter, described] of Object.entries(list.filters)) {
      await lines(`/v1/${name}?${filter}=${typedFor(described)}`);
      if (described.type === "text" && described.values === undefined) continue;
      const { status, text } = await get(`/v1/${name}?${filter}=nonsense`);
      expect([status, text]).toEqual([400, expect.stringContaining(filter)]);
    }
  });

  it("a filter of another list was ignored: it is refused with its name", async () => {
    const all = LISTS.flatMap(({ filters }) => Object.keys(filters));
    for (const filter of new Set([...all, "frobnicate"])) {
      if (filter in list.filters) continue;
      const { status, text } = await get(`/v1/${name}?${filter}=1`);
      expect([filter, status, text]).toEqual([filter, 400, expect.stringContaining(filter)]);
      expect(JSON.parse(text)).toMatchObject({ error: { code: "request.invalid" } });
    }
  });

  it("pages of one row make up the list, and another list's cursor is refused", async () => {
    const all = await rows(wide(list));
    const found: Line[] = [];
    let path = `${wide(list)}${name in WIDE ? "&" : "?"}limit=1`;
    const first = path;
    for (;;) {
      const [item, end] = await lines(path);
      const last = (end ?? item)!.end as { next: string | null };
      if (end) found.push(item!);
      if (last.next === null || found.length >= 12) break;
      expect(last.next).toMatch(list.cursor);
      path = `${first}&after=${encodeURIComponent(last.next)}`;
    }
    expect(found).toEqual(all.slice(0, found.length));
    expect(found.length).toBe(Math.min(12, all.length));
    const { status, text } = await get(`/v1/${name}?after=no+cursor!`);
    expect([status, text]).toEqual([400, expect.stringContaining("not a cursor of this list")]);
  });

  it("an export has all fields as columns, also without rows", async () => {
    const titles = Object.keys(list.fields);
    for (const [form, separator] of [
      ["csv", ","],
      ["tsv", "\t"],
    ] as const) {
      const { out } = await ctl(["export", name, "--format", form]);
      expect(out.slice(0, out.search(/\r?\n/))).toBe(titles.join(separator));
    }
    const { out } = await ctl(["export", name]);
    expect(ndjson(out)).toEqual(await rows(`/v1/${name}`));
  });

  it.each([80, 120])("a table of %d columns was wider than the terminal", async (columns) => {
    for (const { words } of list.commands) {
      const { code, out, err } = await ctl([...words], { stdoutIsTTY: true, columns });
      expect([code, err]).toEqual([0, expect.stringMatching(/^\d+ found\.\n$/)]);
      const widest = Math.max(...out.split("\n").map((line) => line.length));
      expect(widest, words.join(" ")).toBeLessThanOrEqual(columns);
      const titles = list.columns.filter(({ drop }) => drop === undefined).map(({ title }) => title);
      for (const title of titles) expect(out.split("\n")[0]).toContain(title);
    }
  });
});

describe("one object", () => {
  it("a mail is a row of its list", async () => {
    const [mail] = await rows("/v1/received?limit=1");
    expect(JSON.parse((await get(`/v1/received/${String(mail!.id)}`)).text)).toEqual(mail);
  });

  it.each(KINDS)("the head of a %s report was in camelCase with epoch seconds", async (kind) => {
    const reports = await rows(`/v1/reports?kind=${kind}`);
    expect(reports.length).toBeGreaterThan(0);
    for (const report of reports) {
      const { status, text } = await get(`/v1/reports/${String(report.id)}`);
      expect([report.id, status]).toEqual([report.id, 200]); // the schema of the answer is enforced
      const view = JSON.parse(text) as Line;
      expect(view).toMatchObject(report);
      expect(view.head).toMatchObject({ kind });
      const names = [...text.matchAll(/"([A-Za-z_]+)":/g)].map(([, name]) => name!);
      expect(names.filter((name) => /[A-Z]/.test(name))).toEqual([]);
      if (kind === "tls") expect(Array.isArray(view.policies)).toBe(true);
      if (kind === "dmarc" || kind === "tls")
        expect(view.head).toMatchObject({ begin: report.begin, end: report.end });
    }
    expect(logged).toEqual([]);
  });

  it("words of reporters stay as they were sent", async () => {
    const [report] = await rows("/v1/reports?kind=dmarc&org=reporter&limit=1");
    const [record] = await rows(`/v1/records?report=${String(report!.id)}`);
    expect(record).toMatchObject({
      dkim: "unknown",
      raw: { dkim: "PASS!" },
      reasons: [{ type: "other", raw: "arc", comment: "by rule" }],
      spf_results: [{ human_result: "not listed" }],
    });
  });
});

describe("mailreportctl", () => {
  it("an option of `export` that a list does not have was sent: it is refused with those that it has", async () => {
    const { code, out, err } = await ctl(["export", "days", "--source", "192.0.2.1"]);
    expect([code, out]).toEqual([64, ""]);
    expect(err).toMatch(
      /^mailreportctl: --source has no meaning for: export days\npossibilities are:\n--domain/,
    );
  });

  it("--state of an export is that of the list", async () => {
    const envelopes = ndjson((await ctl(["export", "queue", "--state", "failed"])).out);
    expect(new Set(envelopes.map(({ state }) => state))).toEqual(new Set(["failed"]));
    const mails = ndjson((await ctl(["export", "mails", "--state", "invalid"])).out);
    expect(new Set(mails.map(({ outcome }) => outcome))).toEqual(new Set(["invalid"]));
    // --format is the form of the export, not the kind of an outgoing report
    const csv = await ctl(["export", "outgoing", "--format", "csv", "--state", "any"]);
    expect(csv.out.trimEnd().split("\r\n")).toHaveLength(1 + (await rows("/v1/outgoing?state=any")).length);
  });

  it("shows the reports of `show received --reports`, and the records of a report", async () => {
    const shown = ndjson((await ctl(["show", "received", "--reports", "--json"])).out);
    expect(shown).toEqual(await lines("/v1/reports"));
    const [report] = await rows("/v1/reports?kind=dmarc&limit=1");
    const records = ndjson((await ctl(["show", "report", String(report!.id), "--rows", "--json"])).out);
    expect(records).toEqual(await lines(`/v1/records?report=${String(report!.id)}`));
  });

  it("show mta paused, and show pauses", async () => {
    expect((await ctl(["show", "mta", "paused"])).out).toBe(
      (await rows("/v1/pauses?subsystem=mta"))
        .filter(({ destination }) => destination !== null)
        .map(({ destination }) => `* -> ${String(destination)}\n`)
        .join(""),
    );
    expect((await ctl(["show", "mta", "paused"])).out).not.toBe("");
    expect(ndjson((await ctl(["show", "pauses", "--subsystem", "mda", "--json"])).out)).toHaveLength(2);
  });

  it("an id that is none named no forms", async () => {
    expect(await ctl(["show", "queue", "nonsense"])).toEqual({
      code: 64,
      out: "",
      err: "possibilities are:\nshow queue <msgid>\nshow queue <evpid>\n",
    });
  });
});

it("every list of both stores has its route", async () => {
  for (const name of [...Object.keys(ARCHIVE_LISTS), ...Object.keys(QUEUE_LISTS)])
    expect((await get(`/v1/${name}?limit=1`)).status, name).toBe(200);
});

/** Runs a command in this process. */
async function ctl(
  args: readonly string[],
  surroundings: Partial<Parameters<typeof run>[0]> = {},
): Promise<{ code: number; out: string; err: string }> {
  let out = "";
  let err = "";
  const code = await run({
    args: ["-S", socketPath, ...args],
    environment: {},
    stdoutIsTTY: false,
    columns: 80,
    now: NOW * 1000,
    out: (text) => {
      out += text;
    },
    outBytes: () => {},
    err: (text) => {
      err += text;
    },
    stdin: new PassThrough(),
    version: "0",
    files: () => Promise.reject(new Error("no files in this test")),
    confirm: async () => null,
    ...surroundings,
  });
  return { code, out, err };
}
