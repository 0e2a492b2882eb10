/** Forged, signed and foreign reports by mail to the built daemon: the reply, the lists and the sums. */
import { writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ndjson, TestDaemon } from "../support/daemon.ts";
import { dmarcMail, mailWith } from "../support/report-mail.js";
import { keyLine, rsaKey, signed } from "../support/signed-mail.ts";
import { SmtpClient } from "../support/smtp-client.js";
import { until } from "../support/wait.ts";

const GOOGLE = rsaKey("google.example");
const ZONE = `
_dmarc.google.example TXT v=DMARC1; p=reject
google.example TXT v=spf1 ip4:192.0.2.1 -all
${keyLine(GOOGLE)}
_dmarc.down.example SERVFAIL
`;

const from = (mail: Buffer, domain: string): Buffer =>
  Buffer.from(mail.toString("latin1").replace(/^From: .*$/m, `From: noreply@${domain}`), "latin1");
const dmarc = (id: string, domain = "google.example", about = "example.org", records = 1): Buffer =>
  from(dmarcMail({ id, org: domain, domain: about, records }), domain);
const tls = (id: string): Buffer =>
  from(
    mailWith({
      name: "google.example!example.org!1795046400!1795132799.json",
      type: "application/tlsrpt+json",
      subject: "Report Domain: example.org Submitter: google.example",
      content: Buffer.from(
        JSON.stringify({
          "organization-name": "Google",
          "date-range": { "start-datetime": "2026-11-19T00:00:00Z", "end-datetime": "2026-11-19T23:59:59Z" },
          "contact-info": "smtp-tls-reporting@google.example",
          "report-id": id,
          policies: [
            {
              policy: {
                "policy-type": "sts",
                "policy-string": ["version: STSv1"],
                "policy-domain": "example.org",
              },
              summary: { "total-successful-session-count": 10, "total-failure-session-count": 1 },
            },
          ],
        }),
      ),
    }),
    "google.example",
  );

describe("mails that carry reports", () => {
  let daemon: TestDaemon;
  beforeAll(async () => {
    daemon = await new TestDaemon({ zone: ZONE, config: '[receive]\ndomains = ["example.org"]' }).start();
  });
  afterAll(async () => {
    await daemon.stop();
    daemon.remove();
  });

  async function send(mail: Buffer): Promise<string> {
    const client = await SmtpClient.open(daemon.smtpPort);
    const reply = await client.send("b@google.example", "dmarc@example.org", mail);
    await client.quit();
    return reply;
  }
  const reports = (): Record<string, unknown>[] =>
    ndjson(daemon.ctl("show", "received", "--reports", "--json").stdout);
  const reportOf = (id: string) => reports().find((r) => r.report_id === id);
  const figures = () => {
    const all = ndjson(daemon.ctl("show", "domains", "--json").stdout);
    return all.find((d) => d.domain === "example.org") ?? {};
  };

  it("a forged report is flagged, and still counted", async () => {
    expect(await send(dmarc("forged"))).toMatch(/^250 .*imported/);
    expect(reportOf("forged")).toMatchObject({ auth: "fail", auth_domain: "google.example", counted: true });
    expect(daemon.ctl("show", "received", "--reports").stdout).toMatch(/fail\|google\.example/);
    expect(daemon.ctl("show", "received").stdout).toMatch(/\|fail\|google\.example\|/);
    expect(daemon.ctl("show", "report", String(reportOf("forged")?.id)).stdout).toMatch(/google\.example/);
  });

  it("a signed one passes, and takes the place of a forged one", async () => {
    expect(await send(signed(dmarc("forged"), GOOGLE))).toMatch(/^250 .*imported/);
    expect(reports().filter((r) => r.report_id === "forged")).toMatchObject([
      { auth: "pass", counted: true },
    ]);
    expect(await send(dmarc("forged", undefined, undefined, 5))).toMatch(/^250 .*duplicate-conflict/);
    expect(figures()).toMatchObject({ messages: 1 });
  });

  it("a TLS report needs a signature to be counted", async () => {
    expect(await send(tls("unsigned"))).toMatch(/^250 .*imported/);
    expect(reportOf("unsigned")).toMatchObject({ kind: "tls", auth: "fail", counted: false });
    expect(daemon.ctl("show", "received", "--reports").stdout).toMatch(/fail,uncounted\|google\.example/);
    expect(figures()).toMatchObject({ tls_sessions: 0 });
    expect(await send(signed(tls("signed"), GOOGLE))).toMatch(/^250 .*imported/);
    expect(figures()).toMatchObject({ tls_sessions: 11, tls_failures: 1 });
  });

  it("a foreign domain is flagged and left out", async () => {
    expect(await send(signed(dmarc("foreign", undefined, "other.example"), GOOGLE))).toMatch(/^250/);
    expect(reportOf("foreign")).toMatchObject({ auth: "pass", foreign: true, counted: false });
    expect(ndjson(daemon.ctl("show", "domains", "--json").stdout).map((d) => d.domain)).not.toContain(
      "other.example",
    );
  });

  it("all of it is counted", () => {
    expect(daemon.stats()).toMatchObject({
      "archive.auth.pass": 3,
      "archive.auth.fail": 3,
      "carrier.now": 0,
    });
  });

  it("a reload may refuse them instead: in the dialog, by kind, whatever their size", async () => {
    const text = (extra: string) =>
      writeFileSync(daemon.configFile, `${DEFAULTS}[receive]\ndomains = ["example.org"]\n${extra}`);
    text('require_auth = { dmarc = "reject" }\n');
    const before = daemon.events("daemon.reloaded").length;
    daemon.signal("SIGHUP");
    await until("the reload", () => daemon.events("daemon.reloaded").length > before);
    const refused = await send(dmarc("refused"));
    expect(refused).toMatch(/^550 5\.7\.1 .*kept as m\d+/);
    const id = /m\d+/.exec(refused)![0];
    const listed = ndjson(daemon.ctl("show", "received", "--json").stdout).find((m) => m.id === id);
    expect(listed).toMatchObject({
      outcome: "unauthenticated",
      auth: "fail",
      auth_domain: "google.example",
      auth_by: "own",
      auth_detail: "spf=fail google.example; dkim=none; policy reject",
      raw_kept: true,
      reports: [],
    });
    expect(reportOf("refused")).toBeUndefined();
    const large = dmarc("large", undefined, undefined, 60_000);
    expect(large.length).toBeGreaterThan(256 << 10);
    expect(await send(large)).toMatch(/^550 5\.7\.1/);
    expect(await send(signed(large, GOOGLE))).toMatch(/^250 .*spooled/);
    expect(await send(tls("flagged"))).toMatch(/^250 .*imported/);
    // DNS cannot tell: not refused for good
    expect(await send(dmarc("later", "down.example"))).toMatch(/^451 4\.4\.3/);
  });
});

const DEFAULTS = `hostname = "rx.example.org"
state_directory = "var"
allow_root = true
[smtp]
listen = ["127.0.0.1:0"]
[[recipient]]
address = "dmarc@example.org"
[dns]
zone_file = "zone"
zone_only = true
`;
