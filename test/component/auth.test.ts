/** Verifying mails with real signatures against a zone of our own; mailauth does SPF and DKIM. */
import nodemailer from "nodemailer";
import { describe, expect, it } from "vitest";
import { type Config, configSchema } from "../../src/config/schema.ts";
import type { Resolver } from "../../src/dns/resolver.ts";
import { parseZone, zoneResolver } from "../../src/dns/zone.ts";
import { type Clock, systemClock } from "../../src/lib/clock.ts";
import { silentLog } from "../../src/lib/log/log.ts";
import { makeMessageVerifier, type SessionFacts } from "../../src/receive/auth/verify.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { dmarcMail } from "../support/report-mail.js";
import { edKey, keyLine, rsaKey, rsaPem, signed, signedSimply } from "../support/signed-mail.ts";

const GOOGLE = rsaKey("google.example");
const ZONE = `
_dmarc.google.example TXT v=DMARC1; p=reject
google.example TXT v=spf1 ip4:192.0.2.0/28 include:spf.google.example -all
spf.google.example TXT v=spf1 ip4:198.51.100.7 ~all
bounce.google.example TXT v=spf1 redirect=google.example
${keyLine(GOOGLE)}
${keyLine(edKey("google.example"))}
${keyLine(rsaKey("google.example", "mailonly"), "s=email; ")}
${keyLine(rsaKey("google.example", "tlsonly"), "s=tlsrpt; ")}
${keyLine(rsaKey("evil.example"))}
${keyLine(rsaKey("down.example"))}
_dmarc.down.example TXT v=DMARC1; p=none
down.example TXT v=spf1 include:lost.example -all
lost.example SERVFAIL
lost._domainkey.down.example SERVFAIL
loop.example TXT v=spf1 include:loop.example -all
_dmarc.loop.example TXT v=DMARC1; p=none
`;

const GOOD_IP = "192.0.2.5";
const BAD_IP = "203.0.113.66";

function carrier(
  receive: Record<string, unknown> = {},
  resolver: Resolver = zoneResolver(parseZone(ZONE)),
  clock: Clock = systemClock,
) {
  const raw = configSchema.parse({ receive });
  const config = { ...raw, smtp: { ...raw.smtp, banner: "mx.example.org" } } as unknown as Config;
  const check = makeMessageVerifier({ config: () => config, resolver, clock, log: silentLog });
  const verify = (mail: Buffer, facts: Partial<SessionFacts> = {}) =>
    check.verify(mail, {
      remoteIp: BAD_IP,
      helo: "out.example",
      envelopeFrom: "x@nowhere.example",
      source: "smtp",
      ...facts,
    });
  return Object.assign(verify, { stats: check.stats });
}
const verdict = async (
  mail: Buffer,
  facts: Partial<SessionFacts> = {},
  receive: Record<string, unknown> = {},
) => {
  const found = await carrier(receive)(mail, facts);
  return `${found.verdict} ${found.tls} ${found.domain}`;
};

const report = (from = "noreply@google.example"): Buffer =>
  Buffer.from(
    dmarcMail({ id: "1", org: "google.example" })
      .toString("latin1")
      .replace(/^From: .*$/m, `From: ${from}`),
    "latin1",
  );
const changed = (mail: Buffer, from: string, to: string): Buffer =>
  Buffer.from(mail.toString("latin1").replace(from, to), "latin1");

describe("a mail with signatures", () => {
  it("passes with ours, RSA and Ed25519", async () => {
    const found = await carrier()(signed(report(), GOOGLE, edKey("google.example")));
    expect(found).toMatchObject({
      verdict: "pass",
      tls: "pass",
      domain: "google.example",
      dkimDomains: ["google.example"],
      by: "own",
    });
    expect(found.detail).toBe(
      "spf=none nowhere.example; dkim=pass google.example; dkim=pass google.example; policy reject",
    );
  });

  it("passes with nodemailer's, which we did not write", async () => {
    const transport = nodemailer.createTransport({ streamTransport: true, buffer: true, newline: "windows" });
    const sent = await transport.sendMail({
      from: "noreply@google.example",
      to: "dmarc@example.org",
      subject: "Report Domain: example.org",
      text: "two\n\nlines  and blanks \n\n\n",
      attachments: [{ filename: "r.xml", content: "<feedback/>" }],
      dkim: { domainName: "google.example", keySelector: "rsa", privateKey: rsaPem },
    });
    expect(await verdict(sent.message as Buffer)).toBe("pass pass google.example");
  });

  it("passes when it is large, and lets others have their turn meanwhile", async () => {
    const big = signed(
      changed(
        report(),
        "\r\n\r\n",
        `\r\n\r\n${"0123456789abcdef ".repeat(50).concat("\r\n").repeat(10_000)}`,
      ),
      GOOGLE,
    );
    let turns = 0;
    let done = false;
    const count = (): void => {
      turns++;
      if (!done) setImmediate(count);
    };
    setImmediate(count);
    expect(await verdict(big)).toBe("pass pass google.example");
    done = true;
    expect(turns).toBeGreaterThan(50);
  });

  for (const [name, mail, wanted] of [
    ["unsigned", report(), "fail fail google.example"],
    ["signed by somebody else", signed(report(), rsaKey("evil.example")), "fail fail google.example"],
    [
      "with another body",
      changed(signed(report(), GOOGLE), "\r\n\r\n", "\r\n\r\nX"),
      "fail fail google.example",
    ],
    [
      "with another Subject",
      changed(signed(report(), GOOGLE), "Subject: Report", "Subject: Rapport"),
      "fail fail google.example",
    ],
    [
      "with a second From",
      changed(signed(report(), GOOGLE), "From:", "From: x@evil.example\r\nFrom:"),
      "fail fail null",
    ],
    [
      "with a key nobody published",
      signed(report(), rsaKey("google.example", "gone")),
      "fail fail google.example",
    ],
    [
      "with an unsigned Content-Type before",
      Buffer.concat([Buffer.from("Content-Type: text/plain\r\n"), signed(report(), GOOGLE)]),
      "fail fail google.example",
    ],
    [
      "with text that readers take for the body before",
      Buffer.concat([Buffer.from("From: a@google.example\r\nno field\r\n"), signed(report(), GOOGLE)]),
      "fail fail google.example",
    ],
    [
      "with a key for mail only",
      signed(report(), rsaKey("google.example", "mailonly")),
      "pass fail google.example",
    ],
    [
      "with a key for TLS reports only",
      signed(report(), rsaKey("google.example", "tlsonly")),
      "fail pass google.example",
    ],
    ["simple/simple", signedSimply(report(), GOOGLE, ["From", "Subject"]), "pass pass google.example"],
    ["that does not cover From", signedSimply(report(), GOOGLE, ["Subject"]), "fail fail google.example"],
    [
      "of a part of the body (l=)",
      signedSimply(report(), GOOGLE, ["From"], "l=10; ", (body) => body.slice(0, 10)),
      "fail fail google.example",
    ],
    [
      "that has expired",
      signedSimply(report(), GOOGLE, ["From"], "t=1000; x=2000; "),
      "fail fail google.example",
    ],
    [
      "a good one behind a broken one",
      Buffer.concat([
        Buffer.from(
          signedSimply(report(), GOOGLE, ["From"], "", () => "x")
            .toString("latin1")
            .split("\r\n")[0]!
            .concat("\r\n"),
        ),
        signed(report(), GOOGLE),
      ]),
      "pass pass google.example",
    ],
    ["from a subdomain", signed(report("x@mail.google.example"), GOOGLE), "pass pass mail.google.example"],
    [
      "while its key cannot be looked up",
      signed(report("x@down.example"), rsaKey("down.example", "lost")),
      "temperror temperror down.example",
    ],
    [
      "one of two keys cannot be looked up",
      signed(report("x@down.example"), rsaKey("down.example", "lost"), rsaKey("down.example")),
      "pass pass down.example",
    ],
  ] as const) {
    it(`${name}: ${wanted}`, async () => expect(await verdict(mail)).toBe(wanted));
  }
});

describe("a mail without signatures", () => {
  for (const [name, facts, from, wanted] of [
    [
      "by the host of its domain",
      { remoteIp: GOOD_IP, envelopeFrom: "b@google.example" },
      undefined,
      "pass fail google.example",
    ],
    [
      "through an include",
      { remoteIp: "198.51.100.7", envelopeFrom: "b@google.example" },
      undefined,
      "pass fail google.example",
    ],
    [
      "from a mapped address",
      { remoteIp: `::ffff:${GOOD_IP}`, envelopeFrom: "b@google.example" },
      undefined,
      "pass fail google.example",
    ],
    [
      "with a bounce address below",
      { remoteIp: GOOD_IP, envelopeFrom: "b@bounce.google.example" },
      undefined,
      "pass fail google.example",
    ],
    [
      "a null sender, by its host name",
      { remoteIp: GOOD_IP, envelopeFrom: "", helo: "google.example" },
      undefined,
      "pass fail google.example",
    ],
    [
      "a null sender of no host name",
      { remoteIp: GOOD_IP, envelopeFrom: "", helo: "[192.0.2.5]" },
      undefined,
      "fail fail google.example",
    ],
    [
      "by another host",
      { remoteIp: BAD_IP, envelopeFrom: "b@google.example" },
      undefined,
      "fail fail google.example",
    ],
    [
      "over LMTP, where the peer is ours",
      { remoteIp: GOOD_IP, envelopeFrom: "b@google.example", source: "lmtp" },
      undefined,
      "fail fail google.example",
    ],
    [
      "with SPF that cannot be looked up",
      { remoteIp: GOOD_IP, envelopeFrom: "b@down.example" },
      "x@down.example",
      "temperror fail down.example",
    ],
    [
      "with SPF that never ends",
      { remoteIp: GOOD_IP, envelopeFrom: "b@loop.example" },
      "x@loop.example",
      "fail fail loop.example",
    ],
    [
      "of a domain that publishes nothing",
      { envelopeFrom: "b@plain.example" },
      "x@plain.example",
      "none none plain.example",
    ],
  ] as const) {
    it(`${name}: ${wanted}`, async () =>
      expect(await verdict(report(from), facts as Partial<SessionFacts>)).toBe(wanted));
  }
});

describe("verifying", () => {
  it("asks nobody when it is off", async () => {
    const zone = zoneResolver(parseZone(ZONE));
    const off = carrier({ verify: false }, zone);
    expect(await off(signed(report(), GOOGLE), { remoteIp: GOOD_IP })).toMatchObject({
      verdict: "none",
      by: null,
    });
    const front = carrier(
      { verify: false, authserv_ids: ["mx.example"], authserv_peers: ["127.0.0.1"] },
      zone,
    );
    const told = (result: string) =>
      Buffer.concat([Buffer.from(`Authentication-Results: mx.example; ${result}\r\n`), report()]);
    const local = { remoteIp: "127.0.0.1" };
    expect(await front(told("dmarc=pass header.from=google.example"), local)).toMatchObject({
      verdict: "pass",
      by: "mx.example",
    });
    expect(await front(told("dkim=pass header.d=google.example"), local)).toMatchObject({
      verdict: "pass",
      tls: "pass",
    });
    expect(await front(told("dkim=pass header.d=evil.example"), local)).toMatchObject({ verdict: "fail" });
    expect(await front(report(), local)).toMatchObject({ verdict: "none", by: null });
    expect(zone.asked).toEqual([]);
  });

  it("uses the results of a trusted upstream MTA, and of no other", async () => {
    const by = carrier({ authserv_ids: ["mx.example"], authserv_peers: ["192.0.2.200", "10.0.0.1"] });
    const claim = Buffer.concat([
      Buffer.from(
        "Authentication-Results: mx.example; spf=pass smtp.mailfrom=b@google.example\r\nReceived: from x by mx.example; d\r\n",
      ),
      report(),
    ]);
    expect(await by(claim, { remoteIp: "10.0.0.1" })).toMatchObject({
      verdict: "pass",
      tls: "fail",
      by: "mx.example",
    });
    expect(await by(claim, { remoteIp: "192.0.2.200" })).toMatchObject({ verdict: "pass", by: "mx.example" });
    expect(await by(claim, { remoteIp: "10.0.0.1", source: "lmtp" })).toMatchObject({ verdict: "pass" });
    expect(await by(claim, { remoteIp: null, source: "lmtp" })).toMatchObject({ verdict: "pass" });
    for (const remoteIp of [BAD_IP, "127.0.0.1", "10.0.0.2", "::1"]) {
      expect(await by(claim, { remoteIp }), remoteIp).toMatchObject({ by: "own" });
      expect(await by(claim, { remoteIp, source: "lmtp" }), remoteIp).toMatchObject({ by: "own" });
    }
    expect(await by(claim, { remoteIp: BAD_IP })).toMatchObject({ verdict: "fail", by: "own" });
    // signatures that it does not tell about are verified here
    const both = Buffer.concat([
      Buffer.from("Authentication-Results: mx.example; dmarc=pass\r\n"),
      signed(report(), GOOGLE),
    ]);
    expect(await by(both, { remoteIp: "10.0.0.1" })).toMatchObject({
      verdict: "pass",
      tls: "pass",
      by: "mx.example",
    });
  });

  it("ends at its deadline, with a verdict that is no fail", async () => {
    const clock = new FakeClock();
    let asked = 0;
    const hang = () => {
      asked++;
      return new Promise<never>(() => {});
    };
    const silent: Resolver = { txt: hang, mx: hang, addresses: hang, ptr: hang };
    const verify = carrier({}, silent, clock);
    const running = Array.from({ length: 150 }, () =>
      verify(signed(report(), GOOGLE), { remoteIp: GOOD_IP, envelopeFrom: "b@google.example" }),
    );
    while (asked < 100) await new Promise((resolve) => setImmediate(resolve));
    expect(verify.stats()).toEqual({
      "auth.now": 100,
      "auth.waiting": 50,
      "carrier.now": 100,
      "carrier.waiting": 50,
    });
    await clock.advance(20_001);
    const verdicts = await Promise.all(running);
    expect(new Set(verdicts.map((v) => `${v.verdict} ${v.tls}`))).toEqual(new Set(["temperror temperror"]));
    expect(verify.stats()).toEqual({
      "auth.now": 0,
      "auth.waiting": 0,
      "carrier.now": 0,
      "carrier.waiting": 0,
    });
  });

  it("meets no error of ours in damaged mails", async () => {
    const errors: unknown[] = [];
    const log = { ...silentLog, error: (_event: string, fields?: unknown) => void errors.push(fields) };
    const raw = configSchema.parse({ receive: { authserv_ids: ["mx.example"] } });
    const config = { ...raw, smtp: { ...raw.smtp, banner: "mx.example.org" } } as unknown as Config;
    const resolver = zoneResolver(parseZone(ZONE));
    const check = makeMessageVerifier({ config: () => config, resolver, clock: systemClock, log });
    const whole = Buffer.concat([
      Buffer.from("Authentication-Results: mx.example; spf=pass smtp.mailfrom=x@google.example\r\n"),
      signed(report(), GOOGLE),
    ]);
    let seed = 20261120;
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
      return seed % below;
    };
    const pieces = [
      "\r\n",
      "\n",
      ";",
      "=",
      ":",
      "<",
      "@",
      '"',
      "(",
      "l=1;",
      "\0",
      " \r\n ",
      "From: x@y\r\n",
      "ARC-Seal: i=1\r\n",
    ];
    for (let n = 0; n < 2000; n++) {
      let mail = Buffer.from(whole);
      for (let k = random(5); k >= 0; k--) {
        const at = random(Math.min(1300, mail.length));
        const piece = random(2)
          ? Buffer.from(pieces[random(pieces.length)]!)
          : mail.subarray(random(mail.length), random(mail.length));
        mail = Buffer.concat([mail.subarray(0, at), piece, mail.subarray(at + random(20))]);
      }
      const remoteIp = random(2) ? "127.0.0.1" : BAD_IP;
      await check.verify(mail, { remoteIp, helo: "x", envelopeFrom: "x@google.example", source: "smtp" });
    }
    expect(errors).toEqual([]);
  });

  it("takes hostile mails in bounded time", async () => {
    const signature = signed(report(), GOOGLE).toString("latin1").split("From:")[0]!;
    const head = `${signature}From: a@google.example\r\n`;
    const size = 4 << 20;
    const bodies = [" \r\n", "\n", "\r\n", "x\ty\r\n", " ", "a  ", "\t\n", "=\r\n"];
    // of this process: what others do on the machine does not count
    const start = process.cpuUsage();
    for (const piece of bodies) {
      const mail = Buffer.from(`${head}\r\n${piece.repeat(size / piece.length)}`, "latin1");
      expect((await carrier()(mail)).verdict, JSON.stringify(piece)).toBe("fail");
    }
    const odd = [
      "ARC-Seal: i=1; x\r\n",
      "ARC-Message-Signature: i=9\r\nARC-Seal: i=9\r\n",
      signature.repeat(500),
      `To: ${"(".repeat(50_000)}\r\n`,
      " \r\n".repeat(60_000),
      ":\r\n".repeat(500),
    ];
    for (const lines of odd) {
      const found = await carrier()(Buffer.from(`${head}${lines}\r\nbody\r\n`, "latin1"));
      expect(found.verdict).toBe("fail");
      expect(found.detail).not.toBe("it could not be verified");
    }
    expect(process.cpuUsage(start).user).toBeLessThan(30_000_000);
  });
});
