/** Mails for tests of expiry, and checks that need SQL: rows of each table, references between rows. */
import type { Intake } from "../../src/store/archive/intake.ts";
import { BLOCKS_PER_REPORT, BlockCursor } from "../../src/store/sqlite/archive/records.ts";
import type { Sqlite } from "../../src/store/sqlite/open.ts";
import { mailWithXml } from "./archive-box.ts";
import { intakeOf } from "./intake.ts";
import { dmarcXml, mail, tlsJson } from "./reading.ts";

export const DAY = 86_400;

const FEEDBACK = [
  "Feedback-Type: auth-failure",
  "User-Agent: test/1.0",
  "Version: 1",
  "Auth-Failure: dmarc",
  "Source-IP: 192.0.2.1",
].join("\r\n");

export const at = (received: Intake, receivedAt: number): Intake => ({
  ...received,
  hints: { ...received.hints, receivedAt },
});

/** A DMARC report of the day before `time` from a source and an organisation of its own. */
export function dmarcOf(name: string, time: number): Intake {
  const begin = Math.floor(time / DAY) * DAY - DAY;
  const number = [...name].reduce((sum, c) => (sum * 31 + c.charCodeAt(0)) % 65_536, 7);
  const xml = dmarcXml(name, `${name}.example`)
    .replace("<org_name>Reporter", `<org_name>Reporter of ${name}`)
    .replace(/<begin>\d+/, `<begin>${begin}`)
    .replace(/<end>\d+/, `<end>${begin + DAY - 1}`)
    .replace("192.0.2.1", `10.1.${number >> 8}.${number & 255}`);
  return at(mailWithXml(xml), time);
}

export function tlsOf(name: string, time: number): Intake {
  const day = new Date((time - DAY) * 1000).toISOString().slice(0, 10);
  const json = tlsJson(name).replaceAll("2023-11-15", day).replace('"Reporter"', `"TLS of ${name}"`);
  return at(intakeOf(mail([{ type: "application/tlsrpt+json", name: "t.json", body: json }])), time);
}

export function feedbackOf(name: string, time: number): Intake {
  const date = new Date(time * 1000).toUTCString().replace("GMT", "+0000");
  const body = `${FEEDBACK}\r\nReported-Domain: ${name}.example\r\nArrival-Date: ${date}\r\n\r\n`;
  const parts = [
    { type: "text/plain", body: "a failure" },
    { type: "message/feedback-report", body },
    { type: "message/rfc822", body: `From: a@${name}.example\r\nSubject: x\r\n\r\n` },
  ];
  return at(intakeOf(mail(parts, { type: "multipart/report; report-type=feedback-report" })), time);
}

export const brokenOf = (time: number): Intake => at(mailWithXml("<feedback>"), time);

/** Rows of each table but the counters. */
export function rowsOf(database: Sqlite): Record<string, number> {
  const names = database
    .prepare<[], string>(
      "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name <> 'counter'",
    )
    .pluck()
    .all();
  return Object.fromEntries(
    names.map((name) => [name, Number(database.prepare(`SELECT count(*) FROM ${name}`).pluck().get())]),
  );
}

/** What rows refer to that is not there: as text, one line each. */
export function missing(database: Sqlite): string[] {
  const idsOf = (sql: string): Set<number> => new Set(database.prepare<[], number>(sql).pluck().all());
  const tables = Object.fromEntries(
    ["source", "authset", "head", "domain", "org", "report", "mail"].map((name) => [
      name,
      idsOf(`SELECT id FROM ${name}`),
    ]),
  );
  const found: string[] = [];
  const check = (what: string, table: string, ids: Iterable<number>): void => {
    for (const id of ids) if (!tables[table]!.has(id)) found.push(`${what}: no ${table} ${id}`);
  };
  check("report", "head", idsOf("SELECT head_id FROM report WHERE head_id IS NOT NULL"));
  check("report", "mail", idsOf("SELECT mail_id FROM report"));
  check("raw", "mail", idsOf("SELECT mail_id FROM raw"));
  for (const table of ["report", "daily", "tls_daily", "domain_org"])
    check(table, "org", idsOf(`SELECT org_id FROM ${table}`));
  for (const table of ["report", "report_also", "daily", "daily_total", "tls_daily", "domain_org"])
    check(table, "domain", idsOf(`SELECT domain_id FROM ${table} WHERE domain_id IS NOT NULL`));
  const cursor = new BlockCursor();
  for (const { id, body } of database
    .prepare<[], { id: number; body: Buffer }>("SELECT id, body FROM record_block")
    .all()) {
    check("record_block", "report", [Math.floor(id / BLOCKS_PER_REPORT)]);
    cursor.open(body);
    while (cursor.next()) {
      check(`block ${id}`, "source", [cursor.sourceId]);
      check(`block ${id}`, "authset", [cursor.authsetId]);
    }
  }
  return found;
}
