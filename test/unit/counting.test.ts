/** Which reports are kept and counted: kind, authentication, policy -> standing. */
import { describe, expect, it } from "vitest";
import { judge, type Received, type ReceivePolicy, standingOf } from "../../src/model/counting.ts";
import type { MessageAuth } from "../../src/model/message-auth.ts";
import type { ReportKind } from "../../src/model/report.ts";
import type { StagedContent } from "../../src/model/staged.ts";
import { POLICY } from "../support/intake.ts";

/** What a report of this kind about these domains says, as far as the rules look at it. */
function about(kind: ReportKind, ...domains: readonly string[]): StagedContent {
  const contents: Record<ReportKind, unknown> = {
    dmarc: { kind, head: { policy: { domain: domains[0] } } },
    tls: { kind, policies: domains.map((policyDomain) => ({ policyDomain })) },
    failure: { kind, head: { reportedDomains: domains } },
    arf: { kind, head: { reportedDomains: domains } },
    dsn: { kind, head: {} },
  };
  return contents[kind] as StagedContent;
}

type Verdict = MessageAuth["verdict"];

/** A mail with this verdict; a TLS report has one of its own. */
const mail = (verdict: Verdict, tls: Verdict = verdict, changed: Partial<Received> = {}): Received => ({
  source: "smtp",
  hints: { receivedAt: 0 },
  auth: { verdict, tls, domain: null, dkimDomains: [], by: "own", detail: null },
  kinds: [],
  ...changed,
});

const verifying: ReceivePolicy = { ...POLICY, verifies: true };
const trusting: ReceivePolicy = { ...POLICY, verifies: false };
const ours: ReceivePolicy = { ...verifying, domains: ["example.com"] };
const requiring = (kind: ReportKind, word: "off" | "flag" | "reject"): ReceivePolicy => ({
  ...verifying,
  requireAuth: { ...POLICY.requireAuth, [kind]: word },
});
const strict: ReceivePolicy = { ...verifying, countUnverified: [] };

/** `counted`, `uncounted` or the refusal; `foreign` and `authenticated` after it. */
function standing(content: StagedContent, received: Received, policy: ReceivePolicy): string {
  const found = standingOf(content, received, policy);
  if (found.refusal !== null) return found.refusal;
  const words = [found.counted ? "counted" : "uncounted"];
  if (found.foreign) words.push("foreign");
  if (found.authenticated) words.push("authenticated");
  return words.join(" ");
}

const RULES: readonly (readonly [string, StagedContent, Received, ReceivePolicy, string])[] = [
  ["nothing is verified", about("dmarc", "a.example"), mail("none"), trusting, "counted"],
  [
    "a pass that nobody verified replaces nothing",
    about("dmarc", "a.example"),
    mail("pass"),
    trusting,
    "counted",
  ],
  ["verified", about("dmarc", "a.example"), mail("pass"), verifying, "counted authenticated"],
  ["a kind that counts unverified", about("dmarc", "a.example"), mail("fail"), verifying, "counted"],
  ["a kind that does not", about("dmarc", "a.example"), mail("fail"), strict, "uncounted"],
  ["neither for lack of an answer", about("dmarc", "a.example"), mail("temperror"), strict, "uncounted"],
  [
    "an imported file",
    about("dmarc", "a.example"),
    mail("none", "none", { source: "import" }),
    strict,
    "counted",
  ],
  [
    "LMTP is mail",
    about("dmarc", "a.example"),
    mail("none", "none", { source: "lmtp" }),
    strict,
    "uncounted",
  ],
  [
    "IMAP is mail",
    about("dmarc", "a.example"),
    mail("none", "none", { source: "imap" }),
    strict,
    "uncounted",
  ],
  [
    "TLS: SPF is not enough (RFC 8460 3)",
    about("tls", "a.example"),
    mail("pass", "fail"),
    verifying,
    "uncounted",
  ],
  [
    "TLS: a signature is",
    about("tls", "a.example"),
    mail("fail", "pass"),
    verifying,
    "counted authenticated",
  ],
  ["TLS: not required", about("tls", "a.example"), mail("none"), requiring("tls", "off"), "counted"],
  [
    "TLS: refused",
    about("tls", "a.example"),
    mail("pass", "fail"),
    requiring("tls", "reject"),
    "unauthenticated",
  ],
  [
    "TLS: not refused",
    about("tls", "a.example"),
    mail("none", "pass"),
    requiring("tls", "reject"),
    "counted authenticated",
  ],
  [
    "refused when nothing could be checked",
    about("dmarc", "a.example"),
    mail("none"),
    requiring("dmarc", "reject"),
    "unauthenticated",
  ],
  [
    "a file is never refused for it",
    about("dmarc", "a.example"),
    mail("none", "none", { source: "import" }),
    requiring("dmarc", "reject"),
    "counted",
  ],
  [
    "another kind is not refused with it",
    about("arf", "a.example"),
    mail("none"),
    requiring("dmarc", "reject"),
    "counted",
  ],
  [
    "a recipient of its kind",
    about("dmarc", "a.example"),
    mail("pass", "pass", { kinds: ["dmarc"] }),
    verifying,
    "counted authenticated",
  ],
  [
    "a recipient of another kind",
    about("dmarc", "a.example"),
    mail("pass", "pass", { kinds: ["tls", "dsn"] }),
    verifying,
    "wrong-kind",
  ],
  [
    "the kind is looked at first",
    about("tls", "a.example"),
    mail("fail", "fail", { kinds: ["dmarc"] }),
    requiring("tls", "reject"),
    "wrong-kind",
  ],
  ["our domain", about("dmarc", "example.com"), mail("pass"), ours, "counted authenticated"],
  ["a subdomain of ours", about("dmarc", "a.b.example.com"), mail("pass"), ours, "counted authenticated"],
  ["a foreign domain", about("dmarc", "example.org"), mail("pass"), ours, "uncounted foreign authenticated"],
  [
    "a name that only ends like ours",
    about("dmarc", "notexample.com"),
    mail("pass"),
    ours,
    "uncounted foreign authenticated",
  ],
  [
    "TLS: one of its domains is ours",
    about("tls", "example.org", "example.com"),
    mail("none", "pass"),
    ours,
    "counted authenticated",
  ],
  [
    "TLS: none of its domains is ours",
    about("tls", "example.org", "example.net"),
    mail("none", "pass"),
    ours,
    "uncounted foreign authenticated",
  ],
  ["TLS: no policy domain at all", about("tls"), mail("none", "pass"), ours, "counted authenticated"],
  ["failure: a foreign domain", about("failure", "example.org"), mail("none"), ours, "uncounted foreign"],
  ["abuse: our domain", about("arf", "example.com"), mail("none"), ours, "counted"],
  ["a DSN is about no domain", about("dsn"), mail("none"), ours, "counted"],
];

describe("how a report is kept", () => {
  for (const [name, content, received, policy, expected] of RULES)
    it(`${content.kind}, ${name}: ${expected}`, () => {
      expect(standing(content, received, policy)).toBe(expected);
    });

  it("each report of a mail for itself; what could not be parsed is passed on", () => {
    const part = { name: null, mediaType: null, size: 1 };
    const report = (content: StagedContent) => ({ ok: true, content, part, contentHash: "" });
    const failed = { ok: false, kind: null, reason: "internal", detail: null, part };
    const items = [report(about("dmarc", "example.com")), failed, report(about("dmarc", "example.org"))];
    const staged = { headers: null, items, warnings: [], reason: null, detail: null };
    const judged = judge(staged as unknown as Parameters<typeof judge>[0], mail("none"), ours);
    expect(judged.items).toMatchObject([
      { standing: { refusal: null, foreign: false, counted: true } },
      failed,
      { standing: { refusal: null, foreign: true, counted: false } },
    ]);
    expect(judged.items[1]).toBe(failed);
  });
});
