/** --dry-run of every command in the table: it is refused, or both databases stay as they are. --reason is audited. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { COMMANDS } from "../../src/ctl/commands.ts";
import { parse } from "../../src/ctl/grammar.ts";
import { ROOT } from "../support/build.ts";
import { ndjson, TestDaemon } from "../support/daemon.ts";
import { until } from "../support/wait.ts";

const DOMAINS = ["one.example", "two.example"];
/** Its envelope fails, for it has no host; that one's is removed. */
const FAILING = "no-host.example";
const REMOVED = "removed.example";
const CANCELLED = "cancelled.example";
const TOUR = join(ROOT, "contrib/tour/reports");
let d: TestDaemon;
/** Operands that would make each command act, by its `run`; ids are those of the daemon. */
let operands: Record<string, readonly string[]>;

/** All rows of all tables of both databases. */
function content(): Record<string, unknown> {
  const all: Record<string, unknown> = {};
  for (const name of ["archive.db", "queue.db"]) {
    const db = new Database(join(d.dir, "var", name), { readonly: true });
    const tables = db
      .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
      .pluck()
      .all() as string[];
    for (const table of tables) all[`${name} ${table}`] = db.prepare(`SELECT * FROM "${table}"`).all();
    db.close();
  }
  return all;
}

/** Who changed what, and why. */
function audit(): { command: string; who: string; reason: unknown }[] {
  const db = new Database(join(d.dir, "var", "queue.db"), { readonly: true });
  const rows = db.prepare("SELECT command, who, detail FROM audit ORDER BY no").all() as {
    command: string;
    who: string;
    detail: string;
  }[];
  db.close();
  return rows.map(({ command, who, detail }) => ({
    command,
    who,
    reason: (JSON.parse(detail) as { reason: unknown }).reason,
  }));
}

beforeAll(async () => {
  d = await new TestDaemon({
    zone: [...DOMAINS, FAILING, REMOVED, CANCELLED]
      .map((name) => `_dmarc.${name} TXT "v=DMARC1; p=reject; rua=mailto:dmarc@${name}"\n`)
      .join(""),
    config: `[report]
domain = "example.org"
[[dkim]]
selector = "e1"
key_file = "e.pem"
generate = "ed25519"
`,
  }).start();
  const ok = (...args: string[]): string => {
    const ran = d.ctl(...args);
    expect(ran.code, `${args.join(" ")}: ${ran.stderr}`).toBe(0);
    return ran.stdout;
  };
  const evaluation = (domain: string) =>
    `${JSON.stringify({
      v: 1,
      kind: "dmarc",
      time: Math.floor(Date.now() / 1000),
      source_ip: "192.0.2.10",
      header_from: domain,
      policy: { domain, p: "reject" },
      disposition: "none",
      dkim_aligned: true,
      spf_aligned: false,
    })}\n`;
  ok("import", TOUR);
  ok("pause", "scheduler");
  const queued = (domain: string, ...options: string[]) =>
    ndjson(d.ctl("show", "queue", "-d", domain, ...options, "--json").stdout).map(({ id }) => String(id))[0];
  const sendAbout = (domain: string): void => {
    writeFileSync(join(d.dir, "one.jsonl"), evaluation(domain));
    ok("feed", "one.jsonl");
    ok("report", "send", `d:${domain}`);
  };
  sendAbout(FAILING);
  const failed = await until("it to fail", () => queued(FAILING, "--state", "failed"));
  ok("pause", "mta");
  sendAbout(REMOVED);
  const removed = queued(REMOVED)!;
  ok("remove", removed);
  ok("suppress", "add", "somebody@else.example");
  // of envelopes and of open reports: one that is held, one that is not
  writeFileSync(join(d.dir, "feed.jsonl"), DOMAINS.map(evaluation).join(""));
  ok("feed", "feed.jsonl");
  for (const domain of DOMAINS) ok("report", "send", `d:${domain}`);
  ok("feed", "feed.jsonl");
  const [envelope, heldEnvelope] = ndjson(ok("show", "queue", "--json")).map(({ id }) => String(id));
  const [report, heldReport] = ndjson(ok("report", "list", "--json")).map(({ id }) => String(id));
  ok("hold", heldEnvelope!, heldReport!);
  writeFileSync(join(d.dir, "one.jsonl"), evaluation(CANCELLED));
  ok("feed", "one.jsonl");
  ok("report", "cancel", `d:${CANCELLED}`);
  const [cancelled] = ndjson(ok("report", "list", "--state", "dropped", "--json")).map(({ id }) =>
    String(id),
  );
  operands = {
    schedule: [envelope!, report!],
    remove: [envelope!, report!],
    undelete: [removed],
    requeue: [failed],
    suppressAdd: ["dmarc@one.example"],
    suppressRemove: ["somebody@else.example"],
    hold: [envelope!, report!],
    release: [heldEnvelope!, heldReport!],
    pause: [],
    resume: [],
    reportCancel: [report!],
    reportSend: [report!],
    reportUndelete: [cancelled!],
    import: [TOUR],
    feed: ["feed.jsonl"],
    reparse: ["m1"],
    dbPrune: [],
    jobsRun: ["retention"],
    reload: [],
  };
});
afterAll(async () => {
  await d.stop();
  d.remove();
});

describe("--dry-run", () => {
  it.each(COMMANDS.filter(({ dryRun }) => !dryRun).map(({ words }) => [words.join(" ")]))(
    "of %s is refused",
    (words) => {
      expect(() => parse(COMMANDS, [...words.split(" "), "--dry-run"])).toThrow(
        `--dry-run has no meaning for: ${words}`,
      );
    },
  );

  it.each(COMMANDS.filter(({ dryRun }) => dryRun).map(({ words, run }) => [words.join(" "), run]))(
    "of %s acted: both databases stay as they are",
    (words, run) => {
      const before = content();
      expect(operands[run], `what would make ${run} act?`).toBeDefined();
      const ran = d.ctl(...words.split(" "), ...operands[run]!, "--dry-run", "--yes");
      expect([0, 1], ran.stderr).toContain(ran.code);
      expect(content()).toEqual(before);
      expect(d.gone).toBe(false);
    },
  );

  it("of a command that does not know it: 64, and the daemon goes on", () => {
    const ran = d.ctl("stop", "-n");
    expect([ran.code, ran.stderr]).toEqual([64, "mailreportctl: --dry-run has no meaning for: stop\n"]);
    expect(d.ctl("ping").code).toBe(0);
  });

  it("tells what would happen", () => {
    const out = (...args: string[]): string => d.ctl(...args, "-n").stdout;
    const [envelope] = operands.remove!;
    const [report] = operands.reportSend!;
    expect(out("remove", envelope!)).toBe("1 envelope would be removed\n");
    expect(out("undelete", operands.undelete![0]!)).toBe("1 envelope would be undeleted\n");
    expect(out("requeue", operands.requeue![0]!)).toBe("1 envelope would be requeued\n");
    expect(out("pause", "smtp")).toBe("smtp would be paused\n");
    expect(out("pause", "mta")).toBe("mta was already paused\n");
    expect(out("resume", "mta")).toBe("mta would be resumed\n");
    expect(out("report", "cancel", report!)).toBe(`${report} would be cancelled\n`);
    expect(out("report", "send", report!)).toBe(`${report} would be sent to mailto:dmarc@one.example\n`);
    expect(out("reparse", "m1", "m2")).toBe("2 mails would be parsed again\n");
    expect(out("feed", "feed.jsonl")).toBe("2 would be accepted, 0 would be rejected\n");
    expect(out("import", TOUR)).toMatch(/^3 files would be parsed and stored: imported 3$/m);
    const good = readFileSync(d.configFile);
    writeFileSync(d.configFile, 'hostname = "rx.example.org"\nfrobnicate = 1\n');
    const broken = d.ctl("reload", "-n");
    expect([broken.code, broken.stderr]).toEqual([78, expect.stringContaining("frobnicate")]);
    writeFileSync(d.configFile, good);
  });
});

describe("--reason", () => {
  /** Commands that act, and what the audit calls them. */
  const acting = (): (readonly [string[], ...string[]])[] => [
    [["log", "verbose"], "log"],
    [["pause", "smtp"], "pause smtp"],
    [["resume", "smtp"], "resume smtp"],
    [["hold", ...operands.schedule!], "report hold", "hold"],
    [["suppress", "add", "@quiet.example"], "suppress add"],
    [["suppress", "remove", "@quiet.example"], "suppress remove"],
    [["report", "cancel", operands.reportCancel![0]!], "report cancel"],
    [["report", "undelete", operands.reportCancel![0]!], "report undelete"],
    [["feed", "feed.jsonl"], "feed"],
    [["import", TOUR], "import"],
    [["reparse", "m1"], "reparse"],
    [["db", "vacuum"], "db vacuum"],
    [["db", "backup", join(d.dir, "copy")], "db backup"],
    [["reload"], "reload"],
  ];

  it("was missing in the audit of most commands: each has one entry with who and why, signals too", async () => {
    const before = audit().length;
    for (const [args] of acting()) {
      const ran = d.ctl(...args, "--reason", "they asked", "--yes");
      expect(ran.code, `${args.join(" ")}: ${ran.stderr}`).toBe(0);
    }
    const byOperator = { who: "control socket", reason: "they asked" };
    const expected = acting().flatMap(([, ...commands]) =>
      commands.map((command) => ({ command, ...byOperator })),
    );
    expect(audit().slice(before)).toEqual(expected);
    d.signal("SIGHUP");
    await until("the reload", () => d.events("daemon.reloaded").some(({ who }) => who === "signal"));
    await d.stop("SIGTERM");
    expect(audit().slice(before + expected.length)).toEqual([
      { command: "reload", who: "signal", reason: "SIGHUP" },
      { command: "stop", who: "signal", reason: "SIGTERM" },
    ]);
    expect(d.events("unit.failed")).toEqual([]);
  });
});
