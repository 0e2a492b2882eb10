/**
 * The XML reader beside fast-xml-parser: the same reports, written in every way that XML allows, give the same fields
 * and records; and how the bytes come makes no difference. MAILREPORTD_FUZZ_CASES sets how many.
 */
import fc from "fast-check";
import { XMLParser, XMLValidator } from "fast-xml-parser";
import { describe, expect, it } from "vitest";
import { Effort } from "../../src/format/xml/effort.ts";
import { nameTable } from "../../src/format/xml/names.ts";
import { XmlText } from "../../src/format/xml/text.ts";
import { XmlTokenizer } from "../../src/format/xml/tokenizer.ts";
import { WarningList } from "../../src/model/outcome.ts";
import type { DmarcHead } from "../../src/model/report.ts";
import { readFile } from "../support/reading.ts";

const SEED = 20_231_117;
const CASES = Number(process.env.MAILREPORTD_FUZZ_CASES ?? 1500);

/** An element: its name, and its text or its children. */
interface Element {
  readonly name: string;
  readonly content: string | readonly Element[];
}

const of = (name: string, content: string | readonly Element[]): Element => ({ name, content });

// ---- reports --------------------------------------------------------------------------

const domain = fc.stringMatching(/^[a-z][a-z0-9-]{0,10}[a-z0-9]\.(?:example|test)$/);
const word = (...words: string[]) => fc.constantFrom(...words);
const ip = fc.oneof(fc.ipV4(), fc.ipV6());
/** Text with what must be escaped, and what must not be lost. */
const text = fc.oneof(
  fc.stringMatching(/^[!-~]{1,20}(?: [!-~]{1,10}){0,2}$/),
  fc.constantFrom("Müller & Söhne", "a < b", "x > y", "«–»", "日本語", "]] >", "&amp;", "&#65;", "'\"", "🙂"),
);
const count = fc.nat({ max: 1_000_000 }).map(String);

const record = fc
  .record({
    ip,
    count,
    disposition: word("none", "quarantine", "reject"),
    dkim: word("pass", "fail"),
    spf: word("pass", "fail"),
    reasons: fc.array(fc.record({ type: word("forwarded", "local_policy", "other"), comment: text }), {
      maxLength: 2,
    }),
    from: domain,
    envelope: fc.option(domain, { nil: undefined }),
    dkims: fc.array(
      fc.record({
        domain,
        selector: fc.stringMatching(/^[a-z0-9]{1,8}$/),
        result: word("pass", "fail", "none"),
      }),
      {
        maxLength: 3,
      },
    ),
    spfDomain: domain,
    spfResult: word("pass", "fail", "softfail", "neutral"),
  })
  .map((r) =>
    of("record", [
      of("row", [
        of("source_ip", r.ip),
        of("count", r.count),
        of("policy_evaluated", [
          of("disposition", r.disposition),
          of("dkim", r.dkim),
          of("spf", r.spf),
          ...r.reasons.map((reason) =>
            of("reason", [of("type", reason.type), of("comment", reason.comment)]),
          ),
        ]),
      ]),
      of("identifiers", [
        of("header_from", r.from),
        ...(r.envelope === undefined ? [] : [of("envelope_from", r.envelope)]),
      ]),
      of("auth_results", [
        ...r.dkims.map((d) =>
          of("dkim", [of("domain", d.domain), of("selector", d.selector), of("result", d.result)]),
        ),
        of("spf", [of("domain", r.spfDomain), of("result", r.spfResult)]),
      ]),
    ]),
  );

const report = fc
  .record({
    org: text,
    id: fc.stringMatching(/^[A-Za-z0-9._-]{1,30}$/),
    contact: text,
    domain,
    p: word("none", "quarantine", "reject"),
    sp: fc.option(word("none", "reject"), { nil: undefined }),
    adkim: fc.option(word("r", "s"), { nil: undefined }),
    records: fc.array(record, { minLength: 1, maxLength: 5 }),
    recordsFirst: fc.boolean(),
  })
  .map((r) => {
    const head = [
      of("report_metadata", [
        of("org_name", r.org),
        of("email", "dmarc@reporter.example"),
        of("extra_contact_info", r.contact),
        of("report_id", r.id),
        of("date_range", [of("begin", "1700006400"), of("end", "1700092799")]),
      ]),
      of("policy_published", [
        of("domain", r.domain),
        ...(r.adkim === undefined ? [] : [of("adkim", r.adkim)]),
        of("p", r.p),
        ...(r.sp === undefined ? [] : [of("sp", r.sp)]),
      ]),
    ];
    return of("feedback", r.recordsFirst ? [...r.records, ...head] : [...head, ...r.records]);
  });

// ---- ways to write them -----------------------------------------------------------------

/** Choices, taken one after the other. */
type Choose = (below: number) => number;

const SPACES = ["", "", "\n", "  ", "\t\n ", "\r\n"];
const ASIDES = [
  "<!-- a comment -->",
  "<!--<record>-->",
  "<?pi some?>",
  "<note>skipped</note>",
  "<x><y>1</y><z/></x>",
];

function written(element: Element, prefix: string, choose: Choose, depth = 0): string {
  const name = prefix + element.name;
  const space = choose(4) === 0 ? " " : "";
  const attributes = choose(6) === 0 ? ` ${["a='1'", 'lang="en"', 'b = "&lt;>"'][choose(3)]}` : "";
  const open = `<${name}${attributes}${space}>`;
  const close = `</${name}${space}>`;
  if (typeof element.content === "string") return open + writtenText(element.content, choose) + close;
  let inner = "";
  for (const child of element.content) {
    inner += SPACES[choose(SPACES.length)]!;
    // extensions of a record or of the whole are a matter of their own, and kept
    if (depth > 0 && element.name !== "record" && choose(8) === 0) inner += ASIDES[choose(ASIDES.length)]!;
    inner += written(child, prefix, choose, depth + 1);
  }
  return open + inner + SPACES[choose(SPACES.length)]! + close;
}

function writtenText(plain: string, choose: Choose): string {
  if (choose(6) === 0 && !plain.includes("]]>")) return `<![CDATA[${plain}]]>`;
  return [...plain]
    .map((c) => {
      if (c === "&") return choose(2) === 0 ? "&amp;" : "&#38;";
      if (c === "<") return choose(2) === 0 ? "&lt;" : "&#x3c;";
      if (c === ">" && choose(2) === 0) return "&gt;";
      return choose(30) === 0 && c.length === 1 ? `&#${c.charCodeAt(0)};` : c;
    })
    .join("");
}

const DECLARATIONS = [
  "",
  '<?xml version="1.0"?>\n',
  '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>',
  "\ufeff",
];

/** A document of a report: its choices are part of the case, so that a failing one shrinks. */
const documents = fc.tuple(report, fc.infiniteStream(fc.nat({ max: 10_000 }))).map(([root, numbers]) => {
  const iterator = numbers[Symbol.iterator]();
  const choose: Choose = (below) => iterator.next().value! % below;
  const prefix = choose(4) === 0 ? "d:" : "";
  const xml = written(root, prefix, choose);
  return (
    DECLARATIONS[choose(DECLARATIONS.length)]! +
    (prefix ? xml.replace(/^<d:feedback/, '<d:feedback xmlns:d="urn:x"') : xml)
  );
});

// ---- the other reader ---------------------------------------------------------------------

const LISTS = new Set(["record", "reason", "dkim"]);
const oracle = new XMLParser({
  ignoreAttributes: true,
  parseTagValue: false,
  removeNSPrefix: true,
  htmlEntities: true,
  isArray: (name, path) => LISTS.has(name) && !String(path).endsWith("policy_evaluated.dkim"),
});

// biome-ignore lint/suspicious/noExplicitAny: what an independent parser makes of it has no type
type Foreign = any;

/** A report as fast-xml-parser sees it, in our words. */
function foreign(xml: string) {
  expect(XMLValidator.validate(xml)).toBe(true);
  const { feedback } = oracle.parse(xml) as Foreign;
  const { report_metadata: about, policy_published: policy } = feedback;
  return {
    head: {
      orgName: about.org_name,
      contact: about.extra_contact_info,
      reportId: about.report_id,
      domain: policy.domain,
      p: policy.p,
      sp: policy.sp ?? null,
      adkim: policy.adkim ?? null,
    },
    records: feedback.record.map((r: Foreign) => ({
      count: Number(r.row.count),
      disposition: r.row.policy_evaluated.disposition,
      dkim: r.row.policy_evaluated.dkim,
      spf: r.row.policy_evaluated.spf,
      reasons: (r.row.policy_evaluated.reason ?? []).map((reason: Foreign) => [reason.type, reason.comment]),
      headerFrom: r.identifiers.header_from,
      envelopeFrom: r.identifiers.envelope_from ?? null,
      dkimResults: (r.auth_results.dkim ?? []).map((d: Foreign) => [d.domain, d.selector, d.result]),
      spfResults: [[r.auth_results.spf.domain, r.auth_results.spf.result]],
    })),
  };
}

function own(xml: string | Uint8Array) {
  const { heads, records, reason, hashes } = readFile(xml);
  expect(reason).toBeNull();
  const head = heads[0] as DmarcHead;
  return {
    hash: hashes[0],
    head: {
      orgName: head.orgName,
      contact: head.extraContactInfo?.text,
      reportId: head.reportId,
      domain: head.policy.domain,
      p: head.policy.p,
      sp: head.policy.sp,
      adkim: head.policy.adkim,
    },
    records: records.map((r) => ({
      count: r.count,
      disposition: r.disposition,
      dkim: r.dkim,
      spf: r.spf,
      reasons: r.reasons.map((reason) => [reason.type, reason.comment]),
      headerFrom: r.headerFrom,
      envelopeFrom: r.envelopeFrom,
      dkimResults: r.dkimResults.map((d) => [d.domain, d.selector, d.result]),
      spfResults: r.spfResults.map((s) => [s.domain, s.result]),
    })),
  };
}

// ---- how it comes --------------------------------------------------------------------------

const NAMES = ["a", "record", "count", "feedback"];

/** Everything that the tokenizer tells about a document that comes in these pieces. */
function told(bytes: Buffer, cuts: readonly number[]): string[] {
  const warnings = new WarningList();
  const effort = new Effort();
  const textReader = new XmlText(warnings, effort);
  const events: string[] = [];
  let gathered = "";
  const handler = {
    wantsText: true,
    wantsNames: true,
    open(name: number, attributes: string, raw: string) {
      events.push(gathered, `<${name} ${raw} ${attributes}>`);
      gathered = "";
    },
    text(piece: Buffer, start: number, end: number, cdata: boolean) {
      gathered += textReader.decode(piece, start, end, !cdata);
    },
    close(name: number) {
      events.push(gathered, `</${name}>`);
      gathered = "";
    },
  };
  const tokenizer = new XmlTokenizer(handler, {
    names: nameTable(NAMES),
    limits: { depth: 32, attributes: 200, text: 16_384 },
    warnings,
    effort,
    text: textReader,
  });
  try {
    let at = 0;
    for (const cut of [...cuts, bytes.length]) {
      tokenizer.write(bytes.subarray(at, cut));
      at = cut;
    }
    tokenizer.end();
  } catch (error) {
    events.push(String(error));
  }
  return [...events, JSON.stringify(warnings.list().map(({ code }) => code))];
}

const scraps = fc.array(
  fc.constantFrom(
    "<a>",
    "</a>",
    "<record>",
    "</record>",
    "<count>",
    "</count>",
    "<x:y z='1'/>",
    "text",
    "&amp;",
    "&",
    "<",
    ">",
    "<!-- c -->",
    "<![CDATA[d]]>",
    "<?p q?>",
    "\r\n",
    "\0",
    "é",
    "🙂",
    "]]>",
    '<a b="',
    '"',
    "</",
  ),
  { maxLength: 40 },
);

describe("the XML reader", () => {
  it(`agrees with fast-xml-parser on ${CASES} reports, in whatever way they are written`, () => {
    fc.assert(
      fc.property(documents, (xml) => {
        const { hash: _hash, ...read } = own(xml);
        const { head, records } = foreign(xml.replace(/^\ufeff/, ""));
        expect(read).toEqual({ head, records });
      }),
      { seed: SEED, numRuns: CASES },
    );
  });

  it("reads the same report whatever the layout: one content, one hash", () => {
    fc.assert(
      fc.property(fc.tuple(report, fc.infiniteStream(fc.nat({ max: 10_000 }))), ([root, numbers]) => {
        const iterator = numbers[Symbol.iterator]();
        const plain = own(written(root, "", () => 1));
        const other = own(written(root, "", (below) => iterator.next().value! % below));
        expect(other.hash).toBe(plain.hash);
      }),
      { seed: SEED, numRuns: Math.ceil(CASES / 3) },
    );
  });

  it("says the same of any bytes, however they are cut", () => {
    fc.assert(
      fc.property(scraps, fc.array(fc.nat({ max: 400 }), { maxLength: 8 }), (pieces, places) => {
        const bytes = Buffer.from(`<feedback>${pieces.join("")}</feedback>`);
        const whole = told(bytes, []);
        const cuts = [...new Set(places.filter((at) => at < bytes.length))].sort((a, b) => a - b);
        expect(told(bytes, cuts)).toEqual(whole);
        expect(told(bytes, Array.from(bytes.keys()).slice(1))).toEqual(whole);
      }),
      { seed: SEED, numRuns: CASES },
    );
  });
});
