/** The manual: what the tables say, in correct mdoc. */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { COMMANDS } from "../../src/ctl/commands.ts";
import { ERROR_CODES } from "../../src/lib/errors.ts";
import { LOG_EVENTS } from "../../src/lib/log/log.ts";
import { EVENTS } from "../../src/model/events.ts";
import { JOB_RESULTS, JOB_STATES, JOB_TABLE } from "../../src/model/jobs.ts";
import { OUTCOMES, REASONS, WARNINGS } from "../../src/model/outcome.ts";
import { ROOT } from "../support/build.ts";
import { needs, program } from "../support/have.ts";

const FOLDER = join(ROOT, "etc", "man");
const { manualPages, fieldList } = (await import(join(ROOT, "contrib", "man.js"))) as {
  manualPages: () => Record<string, string>;
  fieldList: (fields: object) => string;
};
const read = (name: string): string => readFileSync(join(FOLDER, name), "utf8");

describe("the manual", () => {
  it("says what the tables say (npm run docs writes it)", () => {
    const pages = manualPages();
    expect(readdirSync(FOLDER).sort()).toEqual(Object.keys(pages).sort());
    for (const [name, text] of Object.entries(pages))
      expect(readFileSync(join(FOLDER, name), "utf8"), name).toBe(text);
  });

  it("had capitals in what is typed as it is: d=, kinds, states", () => {
    const all = readdirSync(FOLDER).map((name) => readFileSync(join(FOLDER, name), "utf8"));
    const text = all.join("\n");
    expect(text).toMatch(/^d=; default: report\.domain\.$/m);
    for (const line of ["s=.", "dmarc, tls, failure, arf, dsn."]) expect(text.split("\n")).toContain(line);
    expect(text).toMatch(/^waiting \(open and held\), open,/m);
    expect(text).not.toMatch(/^(?:D=|S=|Dmarc|Pending, |Imported, )/m);
  });

  it("printed what a table lacked as undefined, and a list without filters as Filters: .", () => {
    for (const name of readdirSync(FOLDER)) {
      expect(read(name), name).not.toMatch(/\b(?:undefined|NaN|\[object)\b/);
      expect(read(name), name).not.toMatch(/Filters:\n *\.\n/);
    }
    const help = "something new";
    expect(() => fieldList({ some: { type: "unheard", help } })).toThrow(
      "no words for the field type unheard",
    );
  });

  it("did not say which words a state or result may be", () => {
    const [, jobs = ""] = read("mailreport-lists.7").split(".Sh JOBS\n");
    const fields = jobs.split("\n.It Va ");
    for (const [field, values] of [
      ["state", JOB_STATES],
      ["result", JOB_RESULTS],
    ] as const) {
      const text = fields.find((each) => each.startsWith(`${field} Pq`));
      for (const value of values) expect(text, field).toMatch(new RegExp(`^\\.Cm ${value} [,.]$`, "m"));
    }
  });

  it("named no job: each has its schedule in mailreportd(8) and its name in the help of jobs run", () => {
    const [, jobs = ""] = read("mailreportd.8").split(".Sh JOBS\n");
    const command = COMMANDS.find(({ words }) => words.join(" ") === "jobs run")!;
    expect(command.help).toContain("show jobs");
    for (const [name, { about }] of Object.entries(JOB_TABLE)) {
      const [, text = ""] = jobs.split(`.It Cm ${name}\n`);
      expect(text.toLowerCase(), name).toMatch(new RegExp(`^${about}\\.\nruns every `));
      expect(command.notes!.join(" "), name).toContain(name);
    }
    expect(read("mailreportctl.8")).toContain("and temporary (of a run that failed");
  });

  it("has every option of mailreportd", () => {
    const text = readFileSync(join(FOLDER, "mailreportd.8"), "utf8");
    const ran = spawnSync(process.execPath, [join(ROOT, "dist/bin/mailreportd.js"), "-h"], {
      encoding: "utf8",
    });
    const letters = [...ran.stdout.matchAll(/^ {2}-(\w)\b/gm)].map(([, letter]) => letter!);
    expect(letters).toEqual(expect.arrayContaining(["f", "P", "h", "v", "n"]));
    for (const letter of letters) expect(text, letter).toMatch(new RegExp(`^\\.It Fl ${letter}\\b`, "m"));
  });

  it("lists every outcome, reason and warning", () => {
    const text = readFileSync(join(FOLDER, "mailreport-codes.7"), "utf8");
    for (const code of [...OUTCOMES, ...Object.keys(REASONS), ...Object.keys(WARNINGS)]) {
      expect(
        text.split("\n").filter((line) => line.startsWith(`.It Cm ${code}`)).length,
        code,
      ).toBeGreaterThan(0);
    }
  });

  it("lists every event, error code and log event", () => {
    const text = readFileSync(join(FOLDER, "mailreport-codes.7"), "utf8");
    const [, events = ""] = text.split(".Sh EVENTS\n");
    for (const name of Object.keys(EVENTS)) expect(events, name).toContain(`.It Cm ${name}\n`);
    for (const code of Object.keys(ERROR_CODES)) expect(text, code).toContain(`.It Cm ${code} Pq`);
    for (const name of Object.keys(LOG_EVENTS)) expect(text, name).toContain(`.It Cm ${name}\n`);
  });

  it("passes mandoc without a warning", (context) => {
    needs(context, program("mandoc"));
    for (const name of readdirSync(FOLDER)) {
      const ran = spawnSync("mandoc", ["-T", "lint", "-W", "warning", join(FOLDER, name)], {
        encoding: "utf8",
      });
      expect(ran.stdout, name).toBe("");
      expect(ran.status, name).toBe(0);
    }
  });
});
