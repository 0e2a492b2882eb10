/** What an operator asks of the archive: lists, filters, exports, and the care of the databases. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ARCHIVE_LISTS } from "../../src/model/lists/lists.ts";
import { openDatabase } from "../../src/store/sqlite/open.ts";
import { ROOT } from "../support/build.ts";
import { MAILREPORTCTL, ndjson, TestDaemon } from "../support/daemon.ts";
import { have } from "../support/have.ts";
import { isValid, readManifest } from "../support/manifest.ts";
import { mailWith } from "../support/report-mail.js";

/** RFC 4180: rows as objects by the titles of the first. */
function parseCsv(text: string): Record<string, string>[] {
  const rows: string[][] = [[]];
  for (const [, quoted, bare, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)/g)) {
    rows.at(-1)!.push(quoted?.replaceAll('""', '"') ?? bare!);
    if (end === "\r\n") rows.push([]);
  }
  const [titles, ...body] = rows.slice(0, -1);
  return body.map((row) => Object.fromEntries(titles!.map((title, i) => [title, row[i]!])));
}

const DATA = join(ROOT, "test", "corpus", "data");

describe("the archive", () => {
  let d: TestDaemon;
  let outcomes: Record<string, number>;

  const ok = async (...args: string[]) => {
    const ran = await d.ctlAsync(...args);
    expect(ran.code, `${args.join(" ")}: ${ran.stderr}`).toBe(0);
    return ran.stdout;
  };
  const items = async (...args: string[]) =>
    ndjson(await ok(...args, "--json")).filter((line) => Object.keys(line).join() !== "end");
  const stored = async () => {
    const stats = JSON.parse(await ok("show", "stats", "--json")) as Record<string, number>;
    return Object.fromEntries(
      Object.entries(stats).filter(([name]) => /^archive\.(?:report|record|message|tls)/.test(name)),
    );
  };

  beforeAll(async () => {
    // the corpus has reports since 1970, which do not count by default
    d = await new TestDaemon({ config: '[retention]\nsums = "30000d"' }).start();
    const imported = await d.ctlAsync("import", "--json", DATA);
    expect(imported.code, imported.stderr).toBe(65); // some of it is made to be refused
    outcomes = (ndjson(imported.stdout).at(-1) as { end: Record<string, number> }).end;
  });
  afterAll(async () => {
    await d.stop();
    d.remove();
  });

  it("accounts for every file", async () => {
    const { count, ...each } = outcomes;
    expect(Object.values(each).reduce((sum, n) => sum + n, 0)).toBe(count);
    const mails = await items("show", "received");
    expect(mails).toHaveLength(count!);
    for (const [outcome, n] of Object.entries(each)) {
      expect(await items("show", "received", "--outcome", outcome), outcome).toHaveLength(n);
    }
    const failed = await items("show", "received", "--state", "failed");
    expect(failed.length).toBe((each.invalid ?? 0) + (each.partial ?? 0) + (each["duplicate-conflict"] ?? 0));
    for (const mail of failed.filter((m) => m.outcome === "invalid"))
      expect(mail.reason).toMatch(/^[a-z0-9-]+$/);
  });

  it("adds up, however it is asked", async () => {
    const {
      "archive.message": messages,
      "archive.message.pass": pass,
      "archive.record": records,
    } = await stored();
    const sum = (rows: readonly Record<string, unknown>[], name: string) =>
      rows.reduce((total, row) => total + Number(row[name]), 0);
    const days = await items("show", "days");
    expect([sum(days, "messages"), sum(days, "pass")]).toEqual([messages, pass]);
    expect(sum(days, "messages")).toBe(sum(days, "pass") + sum(days, "fail") + sum(days, "unknown"));
    const domains = await items("show", "domains");
    expect([sum(domains, "messages"), sum(domains, "pass")]).toEqual([messages, pass]);
    const exported = ndjson(await ok("export", "records"));
    expect(exported).toHaveLength(records!);
    expect(sum(exported, "count")).toBe(messages);
    const sources = await items("show", "sources", "--limit", "100000");
    expect([sum(sources, "messages"), sum(sources, "pass")]).toEqual([messages, pass]);
    const reports = await items("export", "reports", "--kind", "dmarc");
    expect([sum(reports, "records"), sum(reports, "messages")]).toEqual([records, messages]);
  });

  it("narrows by domain, organisation, result, source and time", async () => {
    const all = ndjson(await ok("export", "records"));
    const { policy_domain: domain, source_ip: source } = all.find((r) => r.dkim === "pass")!;
    const same = (
      rows: readonly Record<string, unknown>[],
      test: (row: Record<string, unknown>) => boolean,
    ) => expect(rows).toEqual(all.filter(test));
    same(ndjson(await ok("export", "records", "-d", String(domain))), (r) => r.policy_domain === domain);
    same(ndjson(await ok("export", "records", "--source", String(source))), (r) => r.source_ip === source);
    same(
      ndjson(await ok("export", "records", "--result", "pass")),
      (r) => r.dkim === "pass" || r.spf === "pass",
    );
    same(
      ndjson(await ok("export", "records", "--since", "2024-01-01", "--until", "2025-01-01")),
      (r) => String(r.end) >= "2024-01-01" && String(r.begin) < "2025-01-01",
    );
    const half = ndjson(await ok("export", "records", "--limit", "10"));
    const told = (await d.ctlAsync("export", "records", "--limit", "10")).stderr;
    const next = /--after (\S+)/.exec(told)![1]!;
    const rest = ndjson(await ok("export", "records", "--after", next));
    expect([...half, ...rest]).toEqual(all);
    const reports = await items("show", "received", "--reports", "--warning", "long-span");
    expect(reports.length).toBeGreaterThan(0);
    for (const report of reports) {
      expect((report.warnings as { code: string }[]).map((w) => w.code)).toContain("long-span");
    }
    const google = await items("show", "reporters", "--org", "google");
    expect(google.map((r) => String(r.org_name).toLowerCase()).every((name) => name.includes("google"))).toBe(
      true,
    );
  });

  it("tells how often which repair was needed, by organisation", async () => {
    const reports = await items("show", "received", "--reports");
    const [worst] = (await items("show", "reporters")).filter((r) => (r.warnings as object[]).length > 0);
    for (const { code, count } of worst!.warnings as { code: string; count: number }[]) {
      const own = reports.filter((r) => r.org_name === worst!.org_name);
      const found = own.flatMap((r) => r.warnings as { code: string; count: number }[]);
      expect(found.filter((w) => w.code === code).reduce((n, w) => n + w.count, 0)).toBe(count);
    }
  });

  it("lists TLS, failure and delivery reports of the corpus, each kind for itself", async () => {
    const rows = readManifest(join(DATA, "MANIFEST.tsv")).filter((row) => row.kind === "tls" && isValid(row));
    const ids = (await items("show", "tls")).map((report) => report.report_id);
    const known = rows.map((row) => row.reportId).filter((id) => !id.startsWith("("));
    expect(known.length).toBeGreaterThan(25);
    expect(known.filter((id) => !ids.includes(id))).toEqual([]);
    for (const [command, kind] of [
      ["tls", "tls"],
      ["failures", "failure"],
      ["dsn", "dsn"],
    ] as const) {
      const listed = await items("show", command);
      expect(listed.length, command).toBeGreaterThan(0);
      expect(listed.every((report) => report.kind === kind)).toBe(true);
      const ids = new Set(listed.map((report) => report.id));
      const reports = await items("show", "received", "--reports", "--kind", kind);
      expect([...ids]).toEqual(reports.map((report) => report.id));
      expect(listed).toEqual(await items("export", command));
      expect(await items("show", command, "--limit", "2", "--after", `${reports[1]!.id}.999`)).toEqual(
        listed.filter((report) => report.id !== reports[0]!.id && report.id !== reports[1]!.id).slice(0, 2),
      );
    }
  });

  it("tells of each kind what the manifest says", async () => {
    const rows = readManifest(join(DATA, "MANIFEST.tsv")).filter((row) => isValid(row) && row.records !== "");
    const of = (kind: string) => rows.filter((row) => row.kind === kind);
    const exported = await items("export", "reports");
    const line = (...fields: readonly unknown[]) => fields.map(String).join("|").toLowerCase();
    const names = (domains: string) => domains.split(",").sort().join();
    const told = new Set(
      exported.map((r) =>
        line(
          r.org_name,
          names(String(r.policy_domain ?? "")),
          Date.parse(String(r.begin)) / 1000,
          Date.parse(String(r.end)) / 1000,
          r.records,
          r.messages,
        ),
      ),
    );
    // of two reports with one key the first that came is kept
    const conflicts = await items("show", "received", "--outcome", "duplicate-conflict");
    const passedOver = new Set(conflicts.map((mail) => mail.file_name));
    const missing = rows.filter(
      (row) =>
        row.orgName !== "" &&
        !passedOver.has(basename(row.file)) &&
        !told.has(line(row.orgName, names(row.policyDomain), row.begin, row.end, row.records, row.messages)),
    );
    expect(missing.map((row) => row.file)).toEqual([]);
    // policies of TLS reports add up to their report
    const policies = parseCsv(await ok("export", "tls", "--format", "csv"));
    for (const row of of("tls").filter((row) => !row.reportId.startsWith("("))) {
      const own = policies.filter(
        (p) =>
          p.report_id === row.reportId &&
          p.org_name === row.orgName &&
          names(p.policy_domain!) === names(row.policyDomain),
      );
      const reports = new Set(own.map((p) => p.id)).size;
      expect(reports, row.file).toBeGreaterThan(0);
      if (reports > 1) continue; // the same id for other days
      const sum = (name: string) => own.reduce((n, p) => n + Number(p[name]), 0);
      expect([sum("tls_successes"), sum("tls_failures")], row.file).toEqual([
        Number(row.pass),
        Number(row.messages) - Number(row.pass),
      ]);
      if (Number(row.records) > 0) expect(own.length, row.file).toBe(Number(row.records));
    }
    // notifications: a row a recipient
    const deliveries = parseCsv(await ok("export", "dsn", "--format", "csv"));
    const notifications = exported.filter((r) => r.kind === "dsn");
    expect(deliveries).toHaveLength(notifications.reduce((n, r) => n + Number(r.records), 0));
    expect(deliveries.every((d) => d.recipient !== "" && d.action !== "")).toBe(true);
    // failure and abuse reports: a row a report, without the reported message
    for (const [kind, name] of [
      ["failure", "failure"],
      ["arf", "arf"],
    ] as const) {
      const listed = parseCsv(await ok("export", "failures", "--kind", kind, "--format", "csv"));
      expect(listed, name).toHaveLength(exported.filter((r) => r.kind === kind).length);
      const sources = of(kind).flatMap((row) => /source-ip=([0-9a-f.:]+)/.exec(row.notes)?.[1] ?? []);
      for (const source of sources) expect(listed.map((r) => r.source_ip)).toContain(source);
    }
  });

  it("has the same fields in every form of a list, and titles without rows", async () => {
    for (const { name: list, fields } of Object.values(ARCHIVE_LISTS)) {
      const names = Object.keys(fields);
      const [first] = ndjson(await ok("export", list, "--limit", "1"));
      expect(Object.keys(first!), list).toEqual(names);
      const csv = await ok("export", list, "--limit", "1", "--format", "csv");
      expect(csv.slice(0, csv.indexOf("\r\n")), list).toBe(names.join(","));
      const nothing = await ok(
        "export",
        list,
        "--format",
        "tsv",
        "--since",
        "2100-01-01",
        "--until",
        "2100-01-02",
      );
      expect(nothing, list).toBe(`${names.join("\t")}\n`);
    }
  });

  it("exports CSV that no spreadsheet runs, and TSV", async () => {
    const csv = await ok("export", "reports", "--format", "csv");
    const lines = csv.split("\r\n");
    expect(lines[0]).toMatch(/^id,mail_id,kind,org_name,/);
    expect(lines.some((line) => /(?:^|,)[=+@-][A-Za-z]/.test(line))).toBe(false);
    const tsv = (await ok("export", "reports", "--format", "tsv")).trimEnd().split("\n");
    const width = tsv[0]!.split("\t").length;
    expect(tsv.every((line) => line.split("\t").length === width)).toBe(true);
    expect(tsv).toHaveLength(1 + (await items("export", "reports")).length);
  });

  it("gives back the bytes that came", async () => {
    const [first] = await items("show", "received", "--limit", "1");
    const folder = join(d.dir, "raw");
    await ok("export", "raw", "--state", "failed", "-o", folder);
    const failed = (await items("show", "received", "--state", "failed")).filter((m) => m.raw_kept);
    expect(readdirSync(folder).sort()).toEqual(failed.map((m) => `${m.id}.eml`).sort());
    const sizes = failed.map((m) => [m.id, readFileSync(join(folder, `${m.id}.eml`)).length]);
    expect(sizes).toEqual(failed.map((m) => [m.id, m.size]));
    const name = String(first!.file_name);
    const original = execFileSync("find", [DATA, "-name", name], { encoding: "utf8" }).trim();
    const partly = await d.ctlAsync("export", "raw", "m999999", String(first!.id), "-o", folder);
    expect([partly.code, partly.stderr]).toEqual([
      1,
      `mailreportctl: no such mail: m999999\n1 mail written to ${folder}\n`,
    ]);
    expect(readFileSync(join(folder, `${first!.id}.eml`)).equals(readFileSync(original))).toBe(true);
  });

  it("refuses what it does not know, with the possibilities", async () => {
    for (const [args, says] of [
      [["export", "everything"], /possibilities are:\nexport mails/],
      [["export", "raw"], /--output DIR/],
      [["export", "records", "--format", "xml"], /possibilities are:\nndjson/],
      [["show", "days", "--source", "192.0.2.1"], /unknown option: --source/],
      [["show", "received", "--since", "yesterday-ish"], /not a time/],
    ] as const) {
      const ran = await d.ctlAsync(...args);
      expect(ran.code, args.join(" ")).toBe(64);
      expect(ran.stderr).toMatch(says);
    }
    for (const [args, says] of [
      [["show", "received", "--after", "r1"], /not a cursor of this list/],
      [["show", "records", "--after", "x"], /not a cursor of this list/],
      [["show", "days", "--after", "2024-01-01"], /not a cursor of this list/],
      [["show", "days", "--since", "2024-01-02", "--until", "2024-01-02"], /the window is empty/],
      [["show", "records", "--result", "maybe"], /possibilities are:\npass\nfail\nunknown/],
      [["show", "everything"], /possibilities are:\nshow queue/],
      [["reparse", "42"], /not a mail or report id: 42/],
      [["reparse"], /usage: mailreportctl reparse/],
    ] as const) {
      const ran = await d.ctlAsync(...args);
      expect([ran.code, ran.stdout], args.join(" ")).toEqual([64, ""]);
      expect(ran.stderr).toMatch(says);
    }
    const unsuited = await d.ctlAsync("export", "days", "--source", "192.0.2.1");
    expect([unsuited.code, unsuited.stdout]).toEqual([64, ""]);
  });

  it("copies, checks and measures the databases while they are in use", async () => {
    const folder = join(d.dir, "copy");
    const { files } = JSON.parse(await ok("db", "backup", folder, "--json")) as { files: { path: string }[] };
    expect(files.map((file) => file.path)).toEqual([join(folder, "archive.db"), join(folder, "queue.db")]);
    expect((await d.ctlAsync("db", "backup", folder)).code).toBe(64);
    const other = await new TestDaemon().start();
    await other.stop();
    for (const name of ["archive.db", "queue.db"]) {
      for (const suffix of ["-wal", "-shm"]) {
        if (existsSync(join(other.dir, "var", `${name}${suffix}`)))
          writeFileSync(join(other.dir, "var", `${name}${suffix}`), "");
      }
      writeFileSync(join(other.dir, "var", name), readFileSync(join(folder, name)));
    }
    await other.start();
    const copied = JSON.parse((await other.ctlAsync("show", "stats", "--json")).stdout) as Record<
      string,
      number
    >;
    const own = await stored();
    expect(Object.fromEntries(Object.keys(own).map((name) => [name, copied[name]]))).toEqual(own);
    await other.stop();
    other.remove();
    expect(await ok("db", "check")).toBe("ok\n");
    const { archive } = JSON.parse(await ok("db", "stats", "--json")) as { archive: Record<string, number> };
    expect(archive.records).toBe(own["archive.record"]);
    expect(archive.pages! * archive.page_size!).toBeGreaterThanOrEqual(archive.bytes! - archive.page_size!);
  });

  it("parses kept mails again, by id, by outcome and all: figures and the numbers of reports stay", async () => {
    const before = await stored();
    const numbers = (await items("show", "received", "--reports")).map((report) => [
      report.id,
      report.report_id,
    ]);
    const one = JSON.parse(await ok("reparse", "m1", "--json")) as { parsed: number };
    expect(one.parsed).toBe(1);
    const failed = JSON.parse(await ok("ingest", "retry", "--state", "failed", "--json")) as {
      outcomes: Record<string, number>;
    };
    expect(failed.outcomes.invalid).toBe(outcomes.invalid);
    const retried = JSON.parse(await ok("ingest", "retry", "--json")) as { outcomes: object };
    expect(retried.outcomes).toEqual(failed.outcomes);
    const [report] = await items("show", "received", "--reports", "--limit", "1");
    const partly = await d.ctlAsync("reparse", "m999999", String(report!.id), "r999999");
    expect(partly.code).toBe(1);
    expect(partly.stderr).toBe(
      "mailreportctl: no such mail: m999999\nmailreportctl: no such report: r999999\n",
    );
    expect(partly.stdout).toMatch(/^1 mail parsed again, 1 (?:imported|partial)/);
    await ok("reparse", "--all");
    expect(await stored()).toEqual(before);
    const after = (await items("show", "received", "--reports")).map((report) => [
      report.id,
      report.report_id,
    ]);
    expect(after).toEqual(numbers);
  });

  it("deletes what has expired by the time when it came, and keeps the day sums, even when mails are parsed again", async () => {
    const days = await ok("show", "days", "--json");
    const sums = await stored();
    const expired = async () => {
      const { dry_run, ...counts } = JSON.parse(await ok("db", "prune", "--dry-run", "--json"));
      expect(dry_run).toBe(true);
      return counts as Record<string, number>;
    };
    expect(new Set(Object.values(await expired()))).toEqual(new Set([0])); // the reports are old, but they came today
    await d.stop();
    const database = openDatabase(join(d.dir, "var", "archive.db"));
    database.exec("UPDATE report SET received_at = received_at - 401 * 86400 WHERE kind IN ('dmarc', 'tls')");
    database.close();
    await d.start();
    const would = await expired();
    expect(would.reports_with_records).toBe(sums["archive.report.dmarc"]! + sums["archive.report.tls"]!);
    expect(ndjson(await ok("export", "records")).length).toBe(sums["archive.record"]);
    const sizeOf = async () =>
      (JSON.parse(await ok("db", "stats", "--json")) as { archive: Record<string, number> }).archive;
    const before = await sizeOf();
    const done = JSON.parse(await ok("db", "prune", "--yes", "--json")) as Record<string, number>;
    expect(done).toMatchObject({ ...would, dry_run: false });
    expect(new Set(Object.values(await expired()))).toEqual(new Set([0]));
    expect(await ok("show", "days", "--json")).toBe(days);
    // part of the space is given back while records are deleted, how much of it depends on the load of the machine
    expect(await ok("db", "vacuum")).toMatch(/^\d+ bytes/);
    const after = await sizeOf();
    expect([after.free_pages, after.records]).toEqual([0, 0]);
    expect(after.pages).toBeLessThan(before.pages!);
    await ok("reparse", "--all");
    expect(await ok("show", "days", "--json")).toBe(days);
    expect(await stored()).toEqual({ ...sums, "archive.record": 0 });
    expect(await ok("export", "records")).toBe("");
    expect(await ok("db", "check")).toBe("ok\n");
  }, 120_000);

  it.skipIf(!have("sqlite3"))("is sound to SQLite's own shell", async () => {
    const folder = join(d.dir, "shell");
    await ok("db", "backup", folder);
    const said = execFileSync("sqlite3", [join(folder, "archive.db"), "PRAGMA integrity_check"], {
      encoding: "utf8",
    });
    expect(said.trim()).toBe("ok");
  });

  it.skipIf(!have("script"))("says on a terminal how far an import is", () => {
    const command = `${process.execPath} ${MAILREPORTCTL} -S ${d.socket} import ${join(DATA, "tls")}`;
    const ran = spawnSync("script", ["-qec", command, "/dev/null"], { encoding: "utf8" });
    expect(ran.stdout).toMatch(/\r\d+ of \d+ parsed/);
    expect(ran.stdout).toMatch(/duplicate \d+/);
  });

  it("takes a Maildir, an mbox and stdin", async () => {
    const mail = (id: string) =>
      mailWith({
        name: `${id}.xml`,
        type: "text/xml",
        subject: "Report",
        content: readFileSync(join(ROOT, "contrib/tour/reports/provider-two.xml")),
      });
    expect(mail("x").length).toBeGreaterThan(0);
    const maildir = join(d.dir, "Maildir");
    for (const name of ["cur", "new", "tmp"]) mkdirSync(join(maildir, name), { recursive: true });
    writeFileSync(join(maildir, "new", "1.host"), mail("a"));
    writeFileSync(join(maildir, "cur", "2.host:2,S"), mail("b"));
    writeFileSync(join(maildir, "tmp", "3.host"), "half a mail");
    const lines = ndjson(await ok("import", "--json", maildir));
    expect(lines.at(-1)).toMatchObject({ end: { count: 2 } });
    const mbox = Buffer.concat([
      Buffer.from("From a@b Sat Nov 21 00:00:00 2026\n"),
      mail("c"),
      Buffer.from("\n"),
    ]);
    const piped = d.ctlInput(mbox, "import", "--json", "-");
    expect(ndjson(piped.stdout).at(-1)).toMatchObject({ end: { count: 1, duplicate: 1 } });
  });
});
