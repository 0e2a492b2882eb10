/** One list of each public surface: what the code uses is in it, and what is in it is used. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { COMMANDS } from "../../src/ctl/commands.ts";
import { HANDLERS } from "../../src/ctl/run/run.ts";
import { ERROR_CODES } from "../../src/lib/errors.ts";
import { LOG_EVENTS } from "../../src/lib/log/log.ts";
import { EVENTS } from "../../src/model/events.ts";
import { ROOT } from "../support/build.ts";

function sources(dir: string): string[] {
  return readdirSync(dir, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? sources(join(dir, entry.name)) : [join(dir, entry.name)],
  );
}
const code = (but: string) =>
  sources(join(ROOT, "src"))
    .filter((path) => path.endsWith(".ts") && !path.endsWith(but))
    .map((path) => readFileSync(path, "utf8"))
    .join("\n");

describe("catalogues", () => {
  it("every log event is written somewhere", () => {
    const text = code("lib/log/log.ts");
    expect(Object.keys(LOG_EVENTS).filter((event) => !text.includes(`"${event}"`))).toEqual([]);
  });

  it("every event is emitted somewhere", () => {
    const text = code("model/events.ts");
    // settle.ts emits one of four by the state of the envelope
    const isEmitted = (name: string): boolean =>
      text.includes(`emit("${name}"`) || new RegExp(`EVENTS = \\{[^}]*"${name}"`).test(text);
    expect(Object.keys(EVENTS).filter((name) => !isEmitted(name))).toEqual([]);
  });

  it("an event and its log line are described alike", () => {
    const lines: Readonly<Record<string, string>> = LOG_EVENTS;
    const own = ["mail.deferred"]; // the log holds back most of its lines
    const others = Object.entries(EVENTS).filter(
      ([name, { text }]) => lines[name] !== undefined && lines[name] !== text && !own.includes(name),
    );
    expect(others).toEqual([]);
  });

  it("every event has a line in the log under its name, but for a failed job", () => {
    const missing = Object.keys(EVENTS).filter((name) => !(name in LOG_EVENTS));
    expect(missing).toEqual(["job.failed"]);
  });

  it("every error code is raised somewhere", () => {
    const text = code("lib/errors.ts");
    expect(Object.keys(ERROR_CODES).filter((name) => !text.includes(`"${name}"`))).toEqual([]);
  });

  it("every command is carried out", () => {
    expect([...new Set(COMMANDS.map(({ run }) => run))].sort()).toEqual(Object.keys(HANDLERS).sort());
  });
});
