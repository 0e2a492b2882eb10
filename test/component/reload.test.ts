/** Reload: all parts are built before one is replaced. */
import { generateKeyPairSync } from "node:crypto";
import { appendFileSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { findConfig } from "../../src/config/find.ts";
import type { Config } from "../../src/config/schema.ts";
import { checkMachine } from "../../src/daemon/check-machine.ts";
import { makeNames } from "../../src/daemon/names.ts";
import { Parts } from "../../src/daemon/parts.ts";
import { Reloader } from "../../src/daemon/reload.ts";
import { loadSigningKeys } from "../../src/daemon/setup.ts";
import { MailreportError } from "../../src/lib/errors.ts";
import type { LogSink } from "../../src/lib/log/pino.ts";
import type { Ingest } from "../../src/receive/ingest/supervisor.ts";
import type { SmtpListeners } from "../../src/receive/smtp/server.ts";
import { ROOT } from "../support/build.ts";
import { makeCertificate } from "../support/cert.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { type KeptLine, keptLog } from "../support/log-lines.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "reload-"));
});
afterEach(({ task }) => {
  if (task.result?.state !== "fail") rmSync(dir, { recursive: true });
});

const ZONE = "x.example TXT one\n";
const write = (name: string, text: string) => writeFileSync(join(dir, name), text, { mode: 0o600 });
const newKey = () =>
  generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" }) as string;
const TEXT = `hostname = "mx.example.org"
[dns]
zone_file = "zone"
zone_only = true
[[dkim]]
selector = "a"
key_file = "dkim.pem"
`;

function running(text = TEXT) {
  write("zone", ZONE);
  write("mailreportd.conf", text);
  const environment = { hostname: "mx.example.org", directory: dir, packageRoot: ROOT, checkMachine };
  const find = () => findConfig(join(dir, "mailreportd.conf"), environment);
  const found = find();
  if (!found.ok) throw new Error(found.lines.join("\n"));
  const lines: KeptLine[] = [];
  const { log } = keptLog(lines);
  const applied: string[] = [];
  const fault: { error?: unknown } = {};
  const parts = new Parts(found.config, () => null);
  const level: string[] = [];
  const sink = { log, setLevel: (name: string) => level.push(name) } as unknown as LogSink;
  parts.made.names = makeNames(found.config, new FakeClock());
  parts.made.smtp = {
    prepare: (config: Config) => {
      if (fault.error !== undefined) throw fault.error;
      return () => applied.push(`smtp ${config.smtp.max_recipients}`);
    },
  } as unknown as SmtpListeners;
  parts.made.ingest = { reload: () => applied.push("ingest") } as unknown as Ingest;
  const reloader = new Reloader({ parts, sink, find });
  parts.keys = loadSigningKeys(found.config, log, "generate");
  const txt = async () => {
    const answer = await parts.need("names").resolver.txt("x.example");
    return answer.ok ? answer.records : answer.code;
  };
  /** What is in force. */
  const state = async () => ({
    recipients: parts.config.smtp.max_recipients,
    key: parts.keys[0]?.key.export({ type: "pkcs8", format: "pem" }),
    txt: await txt(),
    applied: [...applied],
  });
  return { parts, reloader, state, fault, lines, level };
}

const withKey = () => {
  write("dkim.pem", newKey());
  return TEXT.replace('"dkim.pem"', `"${join(dir, "dkim.pem")}"`);
};

describe("reload", () => {
  it("dns.zone_file and DKIM keys were told as applied and were not: they are loaded again", async () => {
    const text = withKey();
    const { reloader, state, level } = running(text);
    const before = await state();
    write("zone", "x.example TXT two\n");
    write("dkim.pem", newKey());
    write("mailreportd.conf", `${text}[smtp]\nmax_recipients = 7\n[log]\nlevel = "debug"\n`);
    const answer = await reloader.reload("test", false);
    expect(answer).toEqual({
      ok: true,
      applied: [
        'log.level: "info" -> "debug"',
        "smtp.max_recipients: 100 -> 7",
        `dns.zone_file: the content of ${join(dir, "zone")} has changed`,
        `dkim[0].key_file: the content of ${join(dir, "dkim.pem")} has changed`,
      ],
      needsRestart: [],
      problems: [],
    });
    const after = await state();
    expect(after).toMatchObject({ recipients: 7, txt: ["two"], applied: ["smtp 7", "ingest"] });
    expect(after.key).not.toBe(before.key);
    expect(level).toEqual(["debug"]);
  });

  it("a name server is another one after a reload, and the zone file can be left out", async () => {
    const text = withKey();
    const { reloader, state } = running(text);
    expect((await state()).txt).toEqual(["one"]);
    write("mailreportd.conf", text.replace('zone_file = "zone"\n', ""));
    expect(await reloader.reload("test", false)).toMatchObject({ ok: true });
    expect((await state()).txt).toBe("nxdomain");
  });

  for (const [name, spoil] of [
    ["a DKIM key that is cut off", () => write("dkim.pem", newKey().slice(0, 60))],
    ["a DKIM key that is gone", () => rmSync(join(dir, "dkim.pem"))],
    ["a zone file with a mistake", () => write("zone", "nonsense\n")],
    ["a zone file that is gone", () => rmSync(join(dir, "zone"))],
  ] as const) {
    it(`with ${name} half of it was applied: all of the old stays, and the answer and the log say why`, async () => {
      const text = withKey();
      const { reloader, state, lines } = running(text);
      const before = await state();
      write("mailreportd.conf", `${text}[smtp]\nmax_recipients = 7\n`);
      spoil();
      const answer = await reloader.reload("test", false);
      expect(answer).toMatchObject({ ok: false, applied: [], needsRestart: [] });
      expect(answer.problems).toHaveLength(2);
      expect(answer.problems[0]).toMatch(/mailreportd\.conf:\d+:1: (?:dkim|dns)/);
      expect(answer.problems[1]).toBe("reload refused, still running the old configuration");
      expect(await state()).toEqual(before);
      expect(lines.filter((line) => line.event === "daemon.reload_refused")).toHaveLength(1);
      expect(lines.filter((line) => line.event === "unit.failed")).toEqual([]);
    });
  }

  for (const [name, error, problem, bug] of [
    ["an exception", new TypeError("broken"), "an unexpected error; this is a bug: broken", true],
    [
      "a file that went away after the check",
      Object.assign(new Error("ENOENT: server.crt"), { code: "ENOENT", syscall: "open" }),
      "the configuration has mistakes: ENOENT: server.crt",
      false,
    ],
    [
      "an error of OpenSSL",
      Object.assign(new Error("key values mismatch"), { code: "ERR_OSSL_X509_KEY_VALUES_MISMATCH" }),
      "mismatch",
      false,
    ],
    ["a full disk", new MailreportError("store.full"), "no space left for the database", false],
  ] as const) {
    it(`${name} while TLS is built ended the daemon: all of the old stays, the next reload works`, async () => {
      const text = withKey();
      const { reloader, state, fault, lines } = running(text);
      const before = await state();
      write("mailreportd.conf", `${text}[smtp]\nmax_recipients = 7\n`);
      write("zone", "x.example TXT two\n");
      fault.error = error;
      const answer = await reloader.reload("test", false);
      expect(answer.ok).toBe(false);
      expect(answer.problems[0]).toContain(problem);
      expect(await state()).toEqual(before);
      expect(lines.filter((line) => line.event === "unit.failed")).toHaveLength(bug ? 1 : 0);
      fault.error = undefined;
      expect(await reloader.reload("test", false)).toMatchObject({ ok: true });
      expect(await state()).toMatchObject({ recipients: 7, txt: ["two"] });
    });
  }

  it("a renewed certificate was in force without a word: it is named, once, and a dry run names it too", async () => {
    const { key, cert } = makeCertificate(dir, "mx.example.org");
    const text = `${withKey()}[smtp]\ntls_certificate = "${cert}"\ntls_key = "${key}"\n`;
    const { reloader } = running(text);
    expect(await reloader.reload("test", true)).toMatchObject({ ok: true, applied: [] });
    appendFileSync(cert, "\n");
    const applied = [`smtp.tls_certificate: the content of ${cert} has changed`];
    expect(await reloader.reload("test", true)).toMatchObject({ applied });
    expect(await reloader.reload("test", false)).toMatchObject({ applied });
    expect(await reloader.reload("test", false)).toMatchObject({ applied: [] });
  });

  it("a key generated at start was told as changed by the first reload: it is not", async () => {
    const text = TEXT.replace('"dkim.pem"', `"${join(dir, "made.pem")}"\ngenerate = "ed25519"`);
    const { reloader } = running(text);
    expect(await reloader.reload("test", false)).toMatchObject({ ok: true, applied: [] });
  });

  it("a full disk while a key is generated was a mistake of the configuration: it is store.full", async () => {
    const { reloader, state, fault } = running(withKey());
    const before = await state();
    fault.error = Object.assign(new Error("ENOSPC: no space left on device, write"), {
      code: "ENOSPC",
      syscall: "write",
    });
    const answer = await reloader.reload("test", false);
    expect(answer).toMatchObject({ ok: false, code: "store.full" });
    expect(answer.problems[0]).toContain("no space left");
    expect(await state()).toEqual(before);
    write("mailreportd.conf", "nonsense = 1\n");
    expect(await reloader.reload("test", false)).toMatchObject({ ok: false, code: "config.invalid" });
  });

  it("a dry run changed everything: it tells the same and changes nothing, and generates no key", async () => {
    const text = withKey();
    const { reloader, state, lines } = running(text);
    const before = await state();
    const more = `${text}[[dkim]]\nselector = "b"\nkey_file = "${join(dir, "new.pem")}"\ngenerate = "ed25519"\n`;
    const tables = '[smtp]\nmax_recipients = 7\nlisten = ["127.0.0.1:2626"]\n';
    write("mailreportd.conf", more + tables);
    const dry = await reloader.reload("test", true);
    expect(dry.applied).toContain("smtp.max_recipients: 100 -> 7");
    expect(dry.needsRestart).toEqual(['smtp.listen: ["127.0.0.1:2525"] -> ["127.0.0.1:2626"]']);
    expect(await state()).toEqual(before);
    expect(existsSync(join(dir, "new.pem"))).toBe(false);
    expect(lines).toEqual([]);
    expect(await reloader.reload("test", false)).toEqual(dry);
    expect(existsSync(join(dir, "new.pem"))).toBe(true);
    // what needs a restart is told again, for it is not in force
    expect(await reloader.reload("test", true)).toMatchObject({
      applied: [],
      needsRestart: dry.needsRestart,
    });
    write("mailreportd.conf", "nonsense = 1\n");
    const bad = await reloader.reload("test", true);
    expect(bad).toMatchObject({ ok: false, applied: [], needsRestart: [] });
    expect(bad.problems).toHaveLength(1);
    expect(lines.filter((line) => line.event === "daemon.reload_refused")).toEqual([]);
  });

  it("before the listeners are open it is refused", async () => {
    const { reloader, parts } = running(withKey());
    delete parts.made.smtp;
    const answer = await reloader.reload("SIGHUP", false);
    expect(answer.problems[0]).toContain("the daemon is starting");
  });
});
