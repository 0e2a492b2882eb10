/** Lines of a feed: what is taken, how it is normalised, and what the reason says where it is refused. */
import { describe, expect, it } from "vitest";
import { parseContext } from "../../src/feed/batch.ts";
import { LineSplitter } from "../../src/feed/lines.ts";
import { parseFeedLine } from "../../src/feed/parse.ts";
import type { DmarcEvaluation, FeedEvent, TlsSessions } from "../../src/model/evaluation.ts";
import { addressMatcher } from "../../src/model/recipients.ts";
import { testConfig } from "../support/test-config.ts";

const NOW = Date.parse("2026-11-20T12:00:00Z") / 1000;
const CONFIG = testConfig({
  recipient: [{ address: "dmarc@example.org" }, { address: "@reports.example.org" }, { address: "tls*" }],
});
const CONTEXT = parseContext(CONFIG, NOW);

const DMARC = {
  v: 1,
  kind: "dmarc",
  id: "mx1/4P8Srq/1",
  time: NOW - 60,
  source_ip: "192.0.2.10",
  header_from: "news.example.com",
  envelope_from: "b.example.com",
  envelope_to: "rx.example",
  policy: { domain: "example.com", p: "reject", rua: ["mailto:a@example.com!10m"] },
  disposition: "none",
  dkim_aligned: true,
  spf_aligned: false,
};

const TLS = {
  v: 1,
  kind: "tls",
  time: NOW,
  domain: "Example.COM.",
  record: "v=TLSRPTv1;rua=mailto:t@example.com",
  policies: [{ type: "no-policy-found", success: 1 }],
};

type Change = Record<string, unknown>;

function parse(base: Change, change: Change) {
  return parseFeedLine(JSON.stringify({ ...base, ...change }), CONTEXT);
}

function good(change: Change, base: Change = DMARC): FeedEvent {
  const result = parse(base, change);
  if (!result.ok) throw new Error(result.reason);
  return result.event;
}

const dmarc = (change: Change = {}): DmarcEvaluation => good(change) as DmarcEvaluation;
const tls = (change: Change = {}): TlsSessions => good(change, TLS) as TlsSessions;

function bad(change: Change, base: Change = DMARC): string {
  const result = parse(base, change);
  if (result.ok) throw new Error("taken");
  return result.reason;
}

describe("an evaluation", () => {
  it("is taken with the defaults of a DMARC record", () => {
    expect(dmarc()).toEqual({
      kind: "dmarc",
      id: "mx1/4P8Srq/1",
      time: NOW - 60,
      policy: {
        domain: "example.com",
        p: "reject",
        sp: null,
        np: null,
        adkim: "r",
        aspf: "r",
        fo: "0",
        testing: "n",
        psd: "u",
        discovery: null,
      },
      rua: ["mailto:a@example.com!10m"],
      row: {
        sourceIp: "192.0.2.10",
        disposition: "none",
        dkimAligned: true,
        spfAligned: false,
        reasons: [],
        headerFrom: "news.example.com",
        envelopeFrom: "b.example.com",
        envelopeTo: "rx.example",
        dkim: [],
        spf: null,
      },
      count: 1,
      optional: false,
      spam: false,
    });
  });

  it.each([
    ["192.0.2.10", "192.0.2.10"],
    ["::ffff:192.0.2.10", "192.0.2.10"],
    ["2001:DB8:0:0:0:0:0:25", "2001:db8::25"],
    ["[2001:db8::25]", "2001:db8::25"],
  ])("has a canonical address: %s", (source_ip, ip) => {
    expect(dmarc({ source_ip }).row.sourceIp).toBe(ip);
  });

  it.each([
    ["Bücher.Example.", "xn--bcher-kva.example"],
    ["NEWS.example.com", "news.example.com"],
  ])("has a canonical author domain: %s", (header_from, name) => {
    expect(dmarc({ header_from }).row.headerFrom).toBe(name);
  });

  it("keeps of envelope addresses the domain alone", () => {
    const { row } = dmarc({ envelope_from: "<Bob@B.Example.COM>", envelope_to: "a@rx.example" });
    expect(row).toMatchObject({ envelopeFrom: "b.example.com", envelopeTo: "rx.example" });
  });

  it("is not refused for identifiers that the sender of the mail made up", () => {
    const { row } = dmarc({
      envelope_from: "x@[192.0.2.1]",
      dkim: [{ domain: "..", selector: "s", result: "permerror" }],
      spf: { domain: "not a domain", result: "none" },
    });
    expect(row).toMatchObject({ envelopeFrom: null, dkim: [], spf: null });
  });

  it("sorts signatures by alignment and keeps a hundred (RFC 9990 3.1.3)", () => {
    const signature = (domain: string, result = "pass", selector = "s") => ({ domain, selector, result });
    const order = dmarc({
      dkim: [
        signature("esp.example"),
        signature("news.example.com", "fail"),
        signature("example.com"),
        signature("NEWS.example.com"),
      ],
    }).row.dkim.map(({ domain, result }) => `${domain} ${result}`);
    expect(order).toEqual([
      "news.example.com pass",
      "example.com pass",
      "esp.example pass",
      "news.example.com fail",
    ]);
    const many = Array.from({ length: 120 }, (_, i) => signature("esp.example", "fail", `s${i}`));
    const kept = dmarc({ dkim: [...many, signature("example.com")] }).row.dkim;
    expect(kept).toHaveLength(100);
    expect(kept[0]?.domain).toBe("example.com");
  });

  it("has equal rows whatever the order of its signatures", () => {
    const a = { domain: "a.example", selector: "s", result: "pass" };
    const b = { domain: "b.example", selector: "s", result: "pass" };
    expect(dmarc({ dkim: [a, b] }).row).toEqual(dmarc({ dkim: [b, a] }).row);
  });

  it.each([
    ["mailing_list", "mailing_list", null],
    ["forwarded", "trusted_forwarder", null],
    ["sampled_out", "other", "sampled out"],
    ["policy_test_mode", "policy_test_mode", null],
  ])("maps the reason %s", (type, word, comment) => {
    expect(dmarc({ reasons: [{ type }] }).row.reasons).toEqual([{ type: word, comment }]);
  });

  it("reports SPF of the envelope sender only (RFC 9990 3.1.1.11)", () => {
    expect(dmarc({ spf: { domain: "mx.example.com", result: "pass", scope: "helo" } }).row.spf).toBeNull();
    expect(dmarc({ spf: { domain: "B.example.com", result: "SoftFail" } }).row.spf).toEqual({
      domain: "b.example.com",
      result: "softfail",
      humanResult: null,
    });
  });

  it.each([
    ["mail to one of our report addresses", { envelope_to: "DMARC+x@example.org" }],
    ["mail to a domain that takes only reports", { envelope_to: "reports.example.org" }],
    ["mail to a report address told apart", { recipient: "dmarc@example.org" }],
    ["a bounce", { envelope_from: "" }],
    ["a bounce, in brackets", { envelope_from: "<>" }],
    ["our own report", { header_from: "mx.reporter.example" }],
    ["what the feeder says", { optional: true }],
  ])("is optional by itself: %s", (_, change) => {
    expect(dmarc(change).optional).toBe(true);
  });

  it.each([
    ["mail to another user of the same domain", { envelope_to: "bob@example.org" }],
    ["mail to a domain with one report address", { envelope_to: "example.org" }],
    ["no envelope sender known", { envelope_from: null }],
  ])("is not optional: %s", (_, change) => {
    expect(dmarc(change).optional).toBe(false);
  });

  const BAD: readonly [Change, string][] = [
    [{ v: 2 }, "v: expected 1"],
    [{ kind: "spf" }, "kind: expected dmarc or tls"],
    [{ id: "" }, "id: Too small"],
    [{ time: "now" }, "time: expected number, received string"],
    [{ time: NOW + 601 }, "time: more than ten minutes in the future"],
    [{ time: NOW - 7 * 86_400 - 1 }, "time: older than 7 days"],
    [{ source_ip: "192.0.2" }, "source_ip: not an IP address: 192.0.2"],
    [{ header_from: "a..b" }, "header_from: not a domain: a..b"],
    [{ header_from: undefined }, "header_from: missing"],
    [{ policy: { domain: "example.com", p: "nothing" } }, "policy.p: expected none, quarantine or reject"],
    [{ policy: { domain: "exa mple", p: "none" } }, "policy.domain: not a domain: exa mple"],
    [{ disposition: "delete" }, "disposition: expected none, pass, quarantine or reject"],
    [{ dkim_aligned: "yes" }, "dkim_aligned: expected boolean, received string"],
    [
      { dkim: [{ domain: "example.com", result: "good" }] },
      "dkim.0.result: expected none, pass, fail, policy, neutral, temperror or permerror",
    ],
    [{ count: 0 }, "count: Too small"],
    [{ count: 1.5 }, "count: expected int"],
    [{ dkim_algned: true }, 'unknown member "dkim_algned"'],
    [{ policy: { domain: "example.com", p: "none", pct: 5 } }, 'policy: unknown member "pct"'],
  ];
  it.each(BAD)("is refused with its member: %j", (change, reason) => {
    expect(bad(change)).toContain(reason);
  });

  it("is refused when it is no JSON, with outside text escaped", () => {
    expect(parseFeedLine("{", CONTEXT)).toEqual({ ok: false, reason: "not JSON" });
    expect(parseFeedLine("null", CONTEXT)).toMatchObject({ ok: false });
    expect(bad({ "\u001b[31m": 1 })).not.toContain("\u001b");
  });
});

describe("sessions", () => {
  it("are taken with their policy domain filled in", () => {
    expect(tls()).toEqual({
      kind: "tls",
      id: null,
      time: NOW,
      domain: "example.com",
      record: "v=TLSRPTv1;rua=mailto:t@example.com",
      policies: [
        {
          policy: { type: "no-policy-found", domain: "example.com", strings: [], mxHosts: [] },
          success: 1,
          failure: 0,
          details: [],
        },
      ],
      optional: false,
    });
  });

  it("that carried a report are optional", () => {
    expect(tls({ report: true }).optional).toBe(true);
    expect(tls({ recipient: "tls-reports@anywhere.example" }).optional).toBe(true);
  });

  it("have canonical details", () => {
    const details = [
      { result: "certificate-expired", sending_ip: "::ffff:192.0.2.1", mx: "MX1.Example.COM.", count: 2 },
    ];
    const [policy] = tls({ policies: [{ type: "sts", failure: 2, details }] }).policies;
    expect(policy?.details).toMatchObject([
      {
        count: 2,
        detail: { sendingMtaIp: "192.0.2.1", receivingMxHostname: "mx1.example.com", receivingIp: null },
      },
    ]);
  });

  const BAD: readonly [Change, string][] = [
    [{ policies: [] }, "policies: Too small"],
    [{ policies: [{ type: "dane" }] }, "policies.0.type: expected sts, tlsa or no-policy-found"],
    [
      { policies: [{ type: "sts", details: [{ result: "bad" }] }] },
      "policies.0.details.0.result: expected starttls-not-supported",
    ],
    [{ policies: [{ type: "sts", success: -1 }] }, "policies.0.success: Too small"],
  ];
  it.each(BAD)("are refused with their member: %j", (change, reason) => {
    expect(bad(change, TLS)).toContain(reason);
  });
});

describe("a stream of bytes", () => {
  const text = '{"a":1}\r\n\nzwölf\nlast';

  it.each([1, 2, 3, 7, 1000])("has the same lines in chunks of %i bytes", (size) => {
    const bytes = Buffer.from(text);
    const splitter = new LineSplitter();
    const lines = [];
    for (let i = 0; i < bytes.length; i += size) lines.push(...splitter.push(bytes.subarray(i, i + size)));
    lines.push(...splitter.end());
    expect(lines).toEqual([
      { number: 1, text: '{"a":1}\r' },
      { number: 2, text: "" },
      { number: 3, text: "zwölf" },
      { number: 4, text: "last" },
    ]);
  });

  it("loses a line that is too long, and only that one", () => {
    const splitter = new LineSplitter();
    const lines = [splitter.push(Buffer.alloc(40_000, "x")), splitter.push(Buffer.alloc(40_000, "x"))].flat();
    lines.push(...splitter.push(Buffer.from("\nnext\n")));
    expect(lines).toEqual([
      { number: 1, text: null },
      { number: 2, text: "next" },
    ]);
    expect(splitter.push(Buffer.from(`${"y".repeat(65_536)}\n`))[0]?.text).toHaveLength(65_536);
  });
});

describe("address patterns", () => {
  const matches = addressMatcher(["DMARC@example.org", "@all.example", "tls-*@example.net", "abuse*"]);
  it.each([
    ["dmarc@example.org", true],
    ["dmarc+x@EXAMPLE.org", true],
    ["dmarcs@example.org", false],
    ["anyone@all.example", true],
    ["@all.example", true],
    ["@example.org", false],
    ["tls-1@example.net", true],
    ["tls@example.net", false],
    ["abuse-42@else.where.example", true],
    ["nobody@else.where.example", false],
    ["all.example", false],
  ])("match %s: %s", (address, expected) => {
    expect(matches(address)).toBe(expected);
  });
});
