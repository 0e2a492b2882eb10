/** Postfix and swaks as independent peers: they submit reports to the daemon, and accept its reports. */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { makeCertificate } from "../support/cert.ts";
import { ndjson, newStateFolder, TestDaemon } from "../support/daemon.ts";
import { needs, program, swaksWith } from "../support/have.ts";
import { POSTFIX, Postfix } from "../support/postfix.ts";
import { until } from "../support/wait.ts";

const REPORTS = new URL("../../contrib/tour/reports/", import.meta.url);

describe("with Postfix", () => {
  const ends: (() => Promise<unknown> | unknown)[] = [];
  afterEach(async () => {
    for (const end of ends.splice(0).reverse()) await end();
  });
  async function daemon(options: ConstructorParameters<typeof TestDaemon>[0]) {
    const d = new TestDaemon(options);
    ends.push(async () => {
      await d.stop();
      d.remove();
    });
    return d.start();
  }
  async function postfix(options: Parameters<typeof Postfix.start>[0]) {
    const p = await Postfix.start(options);
    ends.push(() => p.stop());
    return p;
  }

  /** A daemon with a certificate, and swaks that sends it a TLS report. */
  async function forSwaks() {
    const dir = newStateFolder();
    const { cert, key } = makeCertificate(dir, "rx.example.org");
    const d = await daemon({
      dir,
      whole: `hostname = "rx.example.org"
state_directory = "var"
allow_root = true
[smtp]
listen = ["127.0.0.1:0"]
tls_certificate = "${cert}"
tls_key = "${key}"
[[recipient]]
address = "tls@example.org"
kinds = ["tls"]
`,
    });
    const file = join(dir, "mail.eml");
    writeFileSync(file, readFileSync(new URL("provider-one-tls.eml", REPORTS)));
    const swaks = (...args: string[]) =>
      spawnSync(
        "swaks",
        [
          "-s",
          "127.0.0.1",
          "-p",
          String(d.smtpPort),
          "-f",
          "t@provider-one.example",
          "-t",
          "tls@example.org",
          "-d",
          `@${file}`,
          ...args,
        ],
        {
          encoding: "utf8",
        },
      );
    return { d, swaks };
  }

  it("Postfix delivers a real report mail to the daemon with STARTTLS", async (context) => {
    needs(context, ...POSTFIX);
    const dir = newStateFolder();
    const { cert, key } = makeCertificate(dir, "rx.example.org");
    const d = await daemon({
      dir,
      whole: `hostname = "rx.example.org"
state_directory = "var"
allow_root = true
[smtp]
listen = ["127.0.0.1:0"]
tls_certificate = "${cert}"
tls_key = "${key}"
[[recipient]]
address = "dmarc@example.org"
[dns]
zone_file = "zone"
zone_only = true
`,
    });
    const p = await postfix({ domains: ["nobody.example"], relayHost: `[127.0.0.1]:${d.smtpPort}` });
    p.send(
      "dmarc-reports@provider-one.example",
      "dmarc@example.org",
      readFileSync(new URL("provider-one.eml", REPORTS)),
    );
    await until("Postfix to say sent", () => /status=sent \(250 2\.0\.0 /.test(p.log()) || undefined);
    expect(p.log()).toMatch(/TLS connection established to 127\.0\.0\.1.*TLSv1\.[23]/);
    const received = ndjson(d.ctl("show", "received", "--json").stdout);
    expect(received[0]).toMatchObject({ outcome: "imported" });
    expect(d.stats()).toMatchObject({
      "archive.report.dmarc": 1,
      "archive.record": 3,
      "archive.message": 523,
    });

    p.send("x@provider-one.example", "nobody@example.org", Buffer.from("Subject: x\n\nx\n"));
    await until("the unknown recipient to be refused", () => /550 5\.1\.1/.test(p.log()) || undefined);
  });

  it("swaks connects through a proxy, by both versions of its protocol", async (context) => {
    needs(context, program("swaks"));
    const dir = newStateFolder();
    const d = await daemon({
      dir,
      whole: `hostname = "rx.example.org"
state_directory = "var"
allow_root = true
[smtp]
listen = ["127.0.0.1:0"]
trusted_proxies = ["127.0.0.1"]
[receive]
verify = false
[[recipient]]
address = "tls@example.org"
`,
    });
    const file = join(dir, "mail.eml");
    writeFileSync(file, readFileSync(new URL("provider-one-tls.eml", REPORTS)));
    for (const version of ["1", "2"]) {
      const client = `--proxy-version ${version} --proxy-family ${version === "1" ? "TCP4" : "AF_INET"} --proxy-source 192.0.2.${version} --proxy-source-port 4711 --proxy-dest 198.51.100.1 --proxy-dest-port 25`;
      const to = `-s 127.0.0.1 -p ${d.smtpPort} -f t@provider-one.example -t tls@example.org -d @${file}`;
      const ran = spawnSync("swaks", `${to} ${client}`.split(" "), { encoding: "utf8" });
      expect(ran.status, ran.stdout + ran.stderr).toBe(0);
    }
    const received = ndjson(d.ctl("show", "received", "--json").stdout).filter((line) => "outcome" in line);
    expect(received.map((mail) => mail.remote_ip).sort()).toEqual(["192.0.2.1", "192.0.2.2"]);
  });

  it("swaks submits a report in clear", async (context) => {
    needs(context, program("swaks"));
    const { d, swaks } = await forSwaks();
    const clear = swaks();
    expect(clear.status, clear.stdout).toBe(0);
    expect(d.stats()["archive.report.tls"]).toBe(1);
  });

  it("swaks without its TLS module failed the test: with STARTTLS only where swaks can", async (context) => {
    needs(context, swaksWith("TLS"));
    const { d, swaks } = await forSwaks();
    const tls = swaks("-tls");
    expect(tls.status, tls.stdout).toBe(0);
    expect(tls.stdout).toContain("TLS started");
    const clear = swaks();
    expect(clear.status, clear.stdout).toBe(0);
    const received = ndjson(d.ctl("show", "received", "--json").stdout).filter((line) => "outcome" in line);
    expect(received.map((r) => r.outcome).sort()).toEqual(["duplicate", expect.stringMatching(/^imported/)]);
    expect(d.stats()["archive.report.tls"]).toBe(1);
  });

  it("outgoing DMARC and TLS reports reach Postfix with STARTTLS", async (context) => {
    needs(context, ...POSTFIX);
    const dir = newStateFolder();
    const { cert, key } = makeCertificate(dir, "postfix.example");
    // Postfix' tlsmgr and smtpd run as postfix
    spawnSync("chmod", ["644", key]);
    spawnSync("chmod", ["755", dir]);
    const p = await postfix({ domains: ["sender.example"], certificate: cert, key });
    const state = join(dir, "d");
    mkdirSync(state);
    const d = await daemon({
      dir: state,
      whole: `hostname = "rx.example.org"
state_directory = "var"
allow_root = true
[smtp]
listen = ["127.0.0.1:0"]
[report]
domain = "example.org"
[[dkim]]
selector = "r1"
key_file = "rsa.pem"
generate = "rsa"
[[feed]]
name = "mta"
socket = "feed.sock"
[deliver]
port = ${p.port}
allow_private = true
[dns]
zone_file = "zone"
zone_only = true
`,
      zone: `_dmarc.sender.example TXT "v=DMARC1; p=reject; rua=mailto:dmarc@sender.example"
_smtp._tls.sender.example TXT "v=TLSRPTv1; rua=mailto:tls@sender.example"
sender.example MX 10 mx.sender.example
mx.sender.example A 127.0.0.1
`,
    });
    const lines = spawnSync(process.execPath, [
      new URL("../../contrib/tour/evaluations.js", import.meta.url).pathname,
    ]).stdout;
    const fed = d.ctlInput(lines, "feed", "-");
    expect(fed.code, fed.stderr).toBe(0);
    const open = ndjson(d.ctl("report", "list", "--json").stdout).filter((line) => "id" in line);
    expect(open).toHaveLength(2);
    for (const report of open) {
      const sent = await d.ctlAsync("report", "send", String(report.id));
      expect(sent.code, sent.stderr).toBe(0);
    }
    await until("both reports to arrive", () => p.inbox().length === 2 || undefined);
    for (const mail of p.inbox()) {
      expect(mail).toMatch(/\(using TLSv1\.[23] with cipher/);
      expect(mail).toMatch(/^DKIM-Signature: /m);
      expect(mail).toMatch(/^Auto-Submitted: auto-generated/m);
    }
    await until("both envelopes to be delivered", () => d.stats()["queue.delivered"] === 2 || undefined);
    await until("both to be logged", () => d.events("envelope.delivered").length === 2 || undefined);
    expect(d.events("envelope.delivered").map((e) => e.tls)).toEqual([
      expect.stringMatching(/^TLSv1\.[23]$/),
      expect.stringMatching(/^TLSv1\.[23]$/),
    ]);
  });
});
