import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { exampleConfig } from "../../src/config/example.ts";
import { findConfig } from "../../src/config/find.ts";
import { formatProblem, loadConfig } from "../../src/config/load.ts";
import { diffConfig } from "../../src/config/print.ts";
import { ROOT } from "../support/build.ts";

const environment = { hostname: "mx.example.org", directory: "/tmp", packageRoot: ROOT };

describe("the configuration", () => {
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), "config-"));
  });
  afterAll(() => rmSync(dir, { recursive: true }));
  const load = (text: string, hostname = environment.hostname) => {
    const file = join(dir, "mailreportd.conf");
    writeFileSync(file, text);
    const loaded = loadConfig(file, { ...environment, hostname });
    if (!loaded.ok) throw new Error(loaded.problems.map(formatProblem).join("\n"));
    return loaded.config;
  };

  for (const mistake of readdirSync(join(ROOT, "test/config"))) {
    it(`tells a mistake at its place: ${mistake}`, () => {
      const folder = join(ROOT, "test/config", mistake);
      const file = join(folder, "mailreportd.conf");
      const loaded = loadConfig(file, environment);
      expect(loaded.ok).toBe(false);
      const told = loaded.ok ? [] : loaded.problems.map((p) => formatProblem(p).slice(file.length + 1));
      const wanted = readFileSync(join(folder, "expect"), "utf8").trimEnd().split("\n");
      expect(told).toEqual(wanted);
    });
  }

  it("the example is what the schema says, and valid with every default spelt out", () => {
    const example = readFileSync(join(ROOT, "mailreportd.conf.example"), "utf8");
    expect(example).toBe(exampleConfig());
    expect(() => load(example)).not.toThrow();
    const spelt = example.replace(/^# (\w+ = .+)$/gm, (line, pair: string) =>
      /^(?:address|kinds|selector|key_file|generate|name|type|socket|group|mode) /.test(pair) ? line : pair,
    );
    expect(spelt).toMatch(/^max_recipients = 100$/m);
    const config = load(spelt);
    expect(diffConfig(config, load(""))).toEqual({ applied: [], needsRestart: [] });
  });

  it("falls back to the host name", () => {
    expect(load("").report).toMatchObject({
      domain: "example.org",
      submitter: "mx.example.org",
      org_name: "example.org",
      from: "noreply-reports@example.org",
    });
    expect(load("", "single").report).toMatchObject({ domain: "single", submitter: "single" });
    expect(load('hostname = "a.b.example"\n').report).toMatchObject({
      domain: "b.example",
      submitter: "a.b.example",
    });
  });

  it("cannot be changed once it is loaded", () => {
    const config = load("");
    expect(() => Object.assign(config.smtp, { max_recipients: 1 })).toThrow(TypeError);
  });

  it("knows what a reload applies and what needs a restart", () => {
    const change = diffConfig(load(""), load('[smtp]\nmax_recipients = 7\nlisten = ["127.0.0.1:26"]\n'));
    expect(change.applied).toEqual(["smtp.max_recipients: 100 -> 7"]);
    expect(change.needsRestart).toEqual(['smtp.listen: ["127.0.0.1:2525"] -> ["127.0.0.1:26"]']);
  });

  it("without a file is a try-out, with a missing one an error", () => {
    const tried = findConfig(null, environment);
    expect(tried).toMatchObject({ ok: true, tryOut: true });
    if (tried.ok) {
      expect(tried.config.deliver.relay).toBe("127.0.0.1:2526");
      expect(tried.config.dns.zone_only).toBe(true);
    }
    expect(findConfig("/nonexistent/x.conf", environment)).toMatchObject({ ok: false, exit: 66 });
  });
});
