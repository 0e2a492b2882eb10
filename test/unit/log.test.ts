import { mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type LogOptions, type LogSink, openLog } from "../../src/lib/log/pino.ts";

describe("the log", () => {
  let dir: string;
  let file: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "mailreportd-log-"));
    file = join(dir, "log");
  });
  afterEach(() => rmSync(dir, { recursive: true }));
  let sink: LogSink;
  const open = (options: Partial<LogOptions> = {}) => {
    sink = openLog({
      form: "json",
      level: "info",
      descriptor: 1,
      journal: false,
      colour: false,
      file,
      ...options,
    });
    return sink;
  };
  const written = (path = file) => readFileSync(path, "utf8").split("\n").filter(Boolean);
  const lines = (path = file) => {
    sink.flush();
    return written(path);
  };

  it("writes one JSON object a line with level, time, event and fields", () => {
    const { log } = open();
    log.child({ part: "smtp" }).info("mail.accepted", { id: "m1", size: 7 });
    const line = JSON.parse(lines()[0]!);
    expect(line).toMatchObject({ level: "info", event: "mail.accepted", part: "smtp", id: "m1", size: 7 });
    expect(line.time).toMatch(/^\d{4}-\d\d-\d\dT/);
  });

  it("escapes outside text wherever it stands", () => {
    const { log } = open();
    log.warn("mail.refused", { from: "a\u009b31m\u202e", list: ["\u001b[2J"], error: new Error("x\u0000y") });
    expect(lines()[0]).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202e]/);
    expect(JSON.parse(lines()[0]!)).toMatchObject({ from: "a\\u{9b}31m\\u{202e}", error: "x\\u{0}y" });
  });

  it("writes key=value for people, quoted where needed", () => {
    const { log } = open({ form: "human" });
    log.info("envelope.delivered", { id: "3628aa4b97c04ff6", reply: "250 2.0.0 Ok" });
    expect(lines()[0]).toMatch(
      /^\d\d:\d\d:\d\d info {2}envelope\.delivered id=3628aa4b97c04ff6 reply="250 2\.0\.0 Ok"$/,
    );
  });

  it("puts journald's level before the line", () => {
    const { log } = open({ journal: true });
    log.error("store.problem");
    expect(lines()[0]).toMatch(/^<3>\{/);
  });

  it("changes its level for all children, and opens a moved file anew", async () => {
    const sink = open();
    const child = sink.log.child({ part: "mta" });
    child.debug("mail.accepted");
    sink.setLevel("debug");
    child.debug("mail.accepted", { n: 1 });
    expect(lines()).toHaveLength(1);
    renameSync(file, `${file}.1`);
    sink.reopen();
    child.info("mail.accepted", { n: 2 });
    expect(lines()).toHaveLength(1);
    expect(lines(`${file}.1`)).toHaveLength(1);
  });

  it("writes the lines of one turn together at its end, and errors at once", async () => {
    const { log } = open();
    log.info("mail.accepted", { n: 1 });
    log.info("mail.accepted", { n: 2 });
    expect(written()).toHaveLength(0);
    await new Promise(setImmediate);
    expect(written()).toHaveLength(2);
    log.info("mail.accepted", { n: 3 });
    log.error("store.problem");
    expect(written()).toHaveLength(4);
  });

  it("survives a full device and counts the lost lines", () => {
    const sink = open({ file: "/dev/full" });
    for (let i = 0; i < 3; i++) sink.log.info("mail.accepted");
    sink.flush();
    expect(sink.lost()).toBeGreaterThan(0);
  });
});
