import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { describedKeys, exampleConfig } from "../../src/config/example.ts";
import { findConfig } from "../../src/config/find.ts";
import { formatProblem, loadConfig } from "../../src/config/load.ts";
import { printConfig } from "../../src/config/print.ts";
import { diffConfig, inForce } from "../../src/config/reload.ts";
import { allKeys, restartReason } from "../../src/config/shape.ts";
import { checkMachine } from "../../src/daemon/check-machine.ts";
import { ROOT } from "../support/build.ts";
import { makeCertificate } from "../support/cert.ts";

const environment = { hostname: "mx.example.org", directory: "/tmp", packageRoot: ROOT, checkMachine };

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
      const told = loaded.ok
        ? []
        : loaded.problems.map((p) =>
            formatProblem(p)
              .slice(file.length + 1)
              .replaceAll(`${folder}/`, ""),
          );
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

  it("the words that keys take were found in the source only: the example and the manual list them", () => {
    const texts = new Map(
      describedKeys().flatMap(({ table, keys }) =>
        keys.map(({ key, text }) => [`${table}.${key}`, text] as const),
      ),
    );
    for (const [key, words] of [
      ["log.level", 'One of "debug", "info", "warn", "error".'],
      ["report.profile", 'One of "both", "rfc9990".'],
      ["report.interval", 'One of "1h", "2h", "3h", "4h", "6h", "8h", "12h", "24h".'],
      ["deliver.tls", 'One of "none", "opportunistic", "required".'],
      ["deliver.relay_tls", 'One of "none", "opportunistic", "required", "implicit".'],
      ["deliver.ip_family", 'One of "4", "6", "any".'],
      ["dkim.generate", 'One of "no", "rsa", "ed25519".'],
      ["feed.mode", 'One of "0600", "0660", "0666".'],
      ["recipient.kinds", 'Any of "dmarc", "tls", "failure", "arf", "dsn", "any".'],
    ] as const) {
      expect(texts.get(key), key).toContain(words);
      expect(exampleConfig().replace(/\s*\n#\s*/g, " ")).toContain(words);
    }
  });

  it("printed numbers that it refused: what is printed is accepted, and means the same", () => {
    const text = `[smtp]
command_timeout = "7m30s"
max_message_size = "30M"
[limits]
read_timeout = "1500ms"
sample_body = 1000
[deliver]
retry = ["90s", "1h30m"]
[[recipient]]
address = "dmarc@example.org"
kinds = ["dmarc"]
`;
    for (const source of ["", text]) {
      const config = load(source);
      const printed = printConfig(config);
      expect(load(printed)).toEqual(config);
      expect(printed).not.toMatch(/_timeout = \d/);
    }
    const printed = printConfig(load(text));
    for (const line of [
      'command_timeout = "7m30s"',
      'max_message_size = "30M"',
      'read_timeout = "1s500ms"',
      'sample_body = "1000"',
      'retry = ["1m30s", "1h30m"]',
    ])
      expect(printed.split("\n")).toContain(line);
  });

  it("a reload told durations and sizes as bare numbers: they are written as in the file", () => {
    const changed = load('[smtp]\ncommand_timeout = "6m"\nmax_message_size = "30M"\n');
    expect(diffConfig(load(""), changed).applied).toEqual([
      'smtp.max_message_size: "25M" -> "30M"',
      'smtp.command_timeout: "5m" -> "6m"',
    ]);
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

  describe("each key says whether a reload applies it", () => {
    it("all keys are in the example, and those that need a restart say so", () => {
      const example = exampleConfig();
      const keys = allKeys();
      expect(keys.length).toBeGreaterThan(100);
      const restart = keys.filter((key) => restartReason(key) !== undefined);
      expect(restart).toEqual([
        "state_directory",
        "runtime_directory",
        "allow_root",
        "log.file",
        "smtp.listen",
        "lmtp.listen",
        "limits.ingest_memory",
        "control.socket",
        "control.group",
        "feed.name",
        "feed.type",
        "feed.socket",
        "feed.group",
        "feed.mode",
      ]);
      // one sentence for each key, and one for the tables `control` and `feed` as a whole
      const singles = restart.filter((key) => !/^(?:control|feed)\./.test(key)).length;
      expect(example.replace(/\n# +/g, " ").match(/A change needs a restart\./g)).toHaveLength(singles + 2);
    });

    it("dns.zone_file was told as applied and was not: every key is in force after a reload, or stays as it was", () => {
      const before = load("");
      for (const path of allKeys()) {
        const [table, key] = path.split(".");
        const other = { changed: path };
        const after = (key === undefined
          ? { ...before, [table!]: other }
          : table === "feed" || table === "recipient" || table === "dkim"
            ? { ...before, [table]: [{ [key]: "x" }] }
            : {
                ...before,
                [table!]: { ...before[table as "log"], [key]: other },
              }) as unknown as typeof before;
        const { applied, needsRestart } = diffConfig(before, after);
        const reloaded = inForce(before, after);
        const restart = restartReason(path) !== undefined;
        expect([applied.length > 0, needsRestart.length > 0], path).toEqual([!restart, restart]);
        expect(diffConfig(before, reloaded).applied.length > 0, path).toBe(!restart);
        // a second reload says again what needs a restart
        expect(diffConfig(reloaded, after).needsRestart.length > 0, path).toBe(restart);
        expect(Object.isFrozen(reloaded)).toBe(true);
      }
    });
  });

  describe("a certificate and its key", () => {
    const problems = (text: string) => {
      const file = join(dir, "mailreportd.conf");
      writeFileSync(file, text);
      const loaded = loadConfig(file, environment);
      return loaded.ok ? [] : loaded.problems.map((p) => formatProblem(p).slice(dir.length + 1));
    };
    const tls = (cert: string, key: string) => `[smtp]\ntls_certificate = "${cert}"\ntls_key = "${key}"\n`;

    it("a half-renewed pair passed the check: it is told with both files", () => {
      const [old, renewed] = ["old.example", "new.example"].map((name) => makeCertificate(dir, name));
      expect(problems(tls(old!.cert, old!.key))).toEqual([]);
      expect(problems(tls(renewed!.cert, old!.key))).toEqual([
        `mailreportd.conf:3:1: smtp.tls_key: ${old!.key} is not the key of the certificate in ${renewed!.cert}`,
      ]);
      const half = join(dir, "half.crt");
      writeFileSync(half, readFileSync(old!.cert, "utf8").slice(0, 300));
      expect(problems(tls(half, old!.key))).toEqual([
        `mailreportd.conf:2:1: smtp.tls_certificate: ${half}: not a PEM certificate`,
      ]);
      expect(problems(tls(dir, old!.key))[0]).toMatch(/smtp\.tls_certificate: .*is a directory$/);
    });

    it("a key that signs nothing passed the check: DKIM keys and the relay's password are loaded", () => {
      const { key } = makeCertificate(dir, "ec.example"); // an EC key is none of RFC 6376 and RFC 8463
      const empty = join(dir, "password");
      writeFileSync(empty, "\n", { mode: 0o600 });
      const dkim = `[[dkim]]\ndomain = "example.org"\nselector = "s"\nkey_file = "${key}"\n`;
      const relay = `[deliver]\nrelay_user = "u"\nrelay_password_file = "${empty}"\n`;
      expect(problems(dkim + relay)).toEqual([
        `mailreportd.conf:4:1: dkim[0].key_file: ${key} cannot be used for signing: s: ec`,
        `mailreportd.conf:7:1: deliver.relay_password_file: ${empty} is empty`,
      ]);
    });
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
