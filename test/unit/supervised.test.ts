import { describe, expect, it } from "vitest";
import { MailreportError } from "../../src/lib/errors.ts";
import type { Log, LogFields } from "../../src/lib/log/log.ts";
import { silentLog } from "../../src/lib/log/log.ts";
import { supervised } from "../../src/lib/supervised.ts";

interface Line {
  readonly level: "warn" | "error";
  readonly event: string;
  readonly fields: LogFields;
}

function recorder(): { readonly log: Log; readonly lines: Line[] } {
  const lines: Line[] = [];
  const at =
    (level: Line["level"]) =>
    (event: string, fields: LogFields = {}): void =>
      void lines.push({ level, event, fields });
  return { log: { ...silentLog, warn: at("warn"), error: at("error") }, lines };
}

describe("supervised", () => {
  it("hands over the value of a unit that succeeds, and logs nothing", async () => {
    const { log, lines } = recorder();
    expect(await supervised({ log, unit: "job" }, async () => 7)).toEqual({ ok: true, value: 7 });
    expect(lines).toEqual([]);
  });

  it("settles an expected error with one line and no stack", async () => {
    const { log, lines } = recorder();
    const result = await supervised({ log, unit: "job", fields: { id: "x" } }, () => {
      throw new MailreportError("store.full");
    });
    expect(result).toMatchObject({ ok: false, failure: { bug: false, error: { code: "store.full" } } });
    expect(lines).toMatchObject([
      { level: "warn", event: "unit.failed", fields: { unit: "job", id: "x", code: "store.full" } },
    ]);
    expect(lines[0]!.fields).not.toHaveProperty("stack");
  });

  it("settles a thrown bug, a rejected promise and a thrown value with the stack where there is one", async () => {
    const { log, lines } = recorder();
    const bug = new TypeError("undefined is not a function");
    for (const work of [
      () => {
        throw bug;
      },
      () => Promise.reject(bug),
      () => Promise.reject("a string"),
    ]) {
      const result = await supervised({ log, unit: "job" }, work);
      expect(result).toMatchObject({ ok: false, failure: { bug: true, error: { code: "daemon.bug" } } });
    }
    expect(lines.map(({ level, fields }) => [level, fields.error])).toEqual([
      ["error", expect.stringContaining("undefined is not a function")],
      ["error", expect.stringContaining("undefined is not a function")],
      ["error", expect.stringContaining("a string")],
    ]);
    expect(lines[0]!.fields.stack).toContain("supervised.test.ts");
  });

  it("lets a broken invariant of a store through: the process must end", async () => {
    const { log } = recorder();
    const broken = new MailreportError("store.not_durable");
    await expect(supervised({ log, unit: "job" }, () => Promise.reject(broken))).rejects.toBe(broken);
  });
});
