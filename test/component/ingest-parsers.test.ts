/** The parser threads of the ingest process: real ones, some of whose mails end them or hold them. */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, describe, expect, it } from "vitest";
import type { ReadHints } from "../../src/model/reading.ts";
import { type ParseOptions, Parsers } from "../../src/receive/ingest/parsers.ts";
import { ROOT } from "../support/build.ts";
import { newFolderInMemory } from "../support/daemon.ts";
import { LIMITS, NOW } from "../support/reading.ts";
import { dmarcMail } from "../support/report-mail.js";
import { until } from "../support/wait.ts";

const FRAGILE = pathToFileURL(join(ROOT, "test", "support", "fragile-parser.js"));
const HINTS: ReadHints = { form: "mail", fileName: null, receivedAt: NOW };
/** More than a small mail. */
const LARGE = 300_000;

describe("the parser threads", () => {
  const cleanups: (() => Promise<void> | void)[] = [];
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  });

  function start(limits = {}) {
    const broken: unknown[] = [];
    const parsers = new Parsers({
      limits: { ...LIMITS, ...limits },
      program: FRAGILE,
      onBroken: (error) => broken.push(error),
    });
    cleanups.push(() => parsers.close());
    const folder = newFolderInMemory();
    cleanups.push(() => rmSync(folder, { recursive: true }));
    const go = join(folder, "go");
    cleanups.push(() => writeFileSync(go, "")); // a thread that waits can end
    const done: string[] = [];
    /** Parses a mail; "imported" or the reason why not. */
    const parse = async (name: string, raw: Buffer, options: Partial<ParseOptions> = {}): Promise<string> => {
      const result = await parsers.parse(raw, HINTS, { spooled: false, alone: false, ...options });
      done.push(name);
      if (!("items" in result)) return result.reason;
      return result.items.some(({ ok }) => ok) ? "imported" : String(result.reason);
    };
    const good = (id: string): Buffer => Buffer.from(dmarcMail({ id }));
    const words = (text: string, size = 0): Buffer =>
      Buffer.concat([Buffer.from(`Subject: words\r\n\r\n${text}\r\n`), Buffer.alloc(size, "x")]);
    const held = (size = 0): Buffer => words(`HOLD-THE-THREAD ${go}`, size);
    return { parsers, parse, good, words, held, done, broken, release: () => writeFileSync(go, "") };
  }

  it.each([
    ["EXIT-THE-THREAD", "internal"],
    ["FILL-THE-THREAD", "oom"],
    ["HANG-THE-THREAD", "timeout"],
  ])(
    "a mail that ends its thread (%s) took its neighbours with it: it alone has the reason %s",
    async (text, reason) => {
      const { parse, good, words, broken } = start({ read_timeout: 2000, ingest_memory: 33_554_432 });
      const all = Array.from({ length: 12 }, (_, n) =>
        n === 5 ? parse("bad", words(text)) : parse(`g-${n}`, good(`g-${n}`)),
      );
      expect(await Promise.all(all)).toEqual(
        Array.from({ length: 12 }, (_, n) => (n === 5 ? reason : "imported")),
      );
      expect(await parse("after", good("after"))).toBe("imported");
      expect(broken).toEqual([]);
    },
  );

  it("two large mails occupied both threads: small mail always has one", async () => {
    const { parse, good, held, done, release } = start();
    const large = [parse("large-1", held(LARGE)), parse("large-2", held(LARGE))];
    expect(await parse("small", good("small"))).toBe("imported");
    expect(await parse("spooled", good("spooled"), { spooled: true })).toBe("imported");
    expect(done).toEqual(["small", "spooled"]);
    release();
    await Promise.all(large);
  });

  it("a small mail that is much work held small mail: it counts as large", async () => {
    const { parse, good, held, done, release } = start();
    const large = parse("large", held(LARGE));
    const bomb = parse("bomb", Buffer.from(dmarcMail({ id: "bomb", records: 3000 })));
    expect(await parse("small", good("small"))).toBe("imported");
    expect(done).toEqual(["small"]);
    release();
    await large;
    expect(await bomb).toBe("imported");
  });

  it("a suspect was parsed beside others: it waits for them, and those behind it wait for it", async () => {
    const { parsers, parse, good, held, done, release } = start();
    await until("a thread to be ready", () => parsers.isReady);
    const before = parse("before", held(LARGE));
    const alone = parse("alone", good("alone"), { alone: true, spooled: true });
    const behind = parse("behind", good("behind"), { spooled: true });
    expect(parsers.isReserved).toBe(true);
    release();
    await Promise.all([before, alone, behind]);
    expect(done).toEqual(["before", "alone", "behind"]);
    expect(parsers.isReserved).toBe(false);
  });

  it("a suspect was taken beside mail that may end the process: the threads are reserved first", async () => {
    const { parsers, parse, good, held, done, release } = start();
    await until("a thread to be ready", () => parsers.isReady);
    const before = parse("before", held(LARGE));
    const reserved = parsers.reserve().then(() => done.push("reserved"));
    const behind = parse("behind", good("behind"));
    release();
    await Promise.all([before, reserved]);
    await parse("alone", good("alone"), { alone: true, spooled: true });
    parsers.release();
    await behind;
    expect([done.slice(0, 2).sort(), done.slice(2)]).toEqual([
      ["before", "reserved"],
      ["alone", "behind"],
    ]);
    expect(parsers.isReserved).toBe(false);
  });
});
