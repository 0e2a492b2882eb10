/** Real reports are odd: each rule of tolerance with its warning code, a line each; numbers as in the design. */
import { describe, expect, it } from "vitest";
import { readMail } from "../../src/format/mail/read.ts";
import type { DmarcHead, DmarcRecord, TlsHead, TlsPolicyResult } from "../../src/model/report.ts";
import { LIMITS, mail, NOW, type Read, read, readFile } from "../support/reading.ts";

// ---- DMARC --------------------------------------------------------------------------------

const PARTS = {
  before: '<?xml version="1.0"?>',
  root: "<feedback>",
  org: "<org_name>Reporter</org_name>",
  email: "<email>d@reporter.example</email>",
  id: "<report_id>r1</report_id>",
  range: "<date_range><begin>1700006400</begin><end>1700092799</end></date_range>",
  policy: "<policy_published><domain>example.com</domain><p>none</p></policy_published>",
  ip: "<source_ip>192.0.2.1</source_ip>",
  count: "<count>2</count>",
  evaluated: "<disposition>none</disposition><dkim>pass</dkim><spf>fail</spf>",
  ids: "<identifiers><header_from>example.com</header_from></identifiers>",
  auth: "<auth_results><spf><domain>example.com</domain><result>fail</result></spf></auth_results>",
  more: "",
  after: "</feedback>",
};
type Parts = Partial<typeof PARTS>;

function xml(parts: Parts): string {
  const p = { ...PARTS, ...parts };
  const evaluated = p.evaluated && `<policy_evaluated>${p.evaluated}</policy_evaluated>`;
  const record = `<record><row>${p.ip}${p.count}${evaluated}</row>${p.ids}${p.auth}</record>`;
  return `${p.before}${p.root}<report_metadata>${p.org}${p.email}${p.id}${p.range}</report_metadata>${p.policy}${record}${p.more}${p.after}`;
}

const head = (r: Read) => r.heads[0] as DmarcHead;
const first = (r: Read) => r.records[0] as DmarcRecord;
const RECORD = xml({}).match(/<record>.*<\/record>/)![0];

/** Rule, what is odd, the report, the codes that it gets (all of them), and what comes out. */
const DMARC: [number, string, string | Buffer, string[], (r: Read) => unknown, unknown][] = [
  [
    14,
    "a BOM",
    Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), Buffer.from(xml({}))]),
    [],
    (r) => r.ids,
    ["r1"],
  ],
  [14, "blanks first", `\r\n  ${xml({})}`, ["leading-text"], (r) => r.ids, ["r1"]],
  [14, "text behind it", `${xml({})}\0\0\n--boundary--`, ["trailing-text"], (r) => r.ids, ["r1"]],
  [
    15,
    "UTF-16",
    Buffer.from(`\ufeff${xml({ org: "<org_name>Müller</org_name>" })}`, "utf16le"),
    [],
    (r) => head(r).orgName,
    "Müller",
  ],
  [
    15,
    "ISO-8859-1, declared",
    Buffer.from(
      xml({ before: '<?xml version="1.0" encoding="iso-8859-1"?>', org: "<org_name>Müller</org_name>" }),
      "latin1",
    ),
    [],
    (r) => head(r).orgName,
    "Müller",
  ],
  [
    15,
    "windows-1252, not declared",
    Buffer.from(xml({ org: "<org_name>M\xfcller</org_name>" }), "latin1"),
    ["encoding-repaired"],
    (r) => head(r).orgName,
    "Müller",
  ],
  [
    15,
    "an unknown encoding",
    xml({ before: '<?xml version="1.0" encoding="x-user"?>' }),
    ["encoding-repaired"],
    (r) => r.ids,
    ["r1"],
  ],
  [
    15,
    "control characters",
    xml({ org: "<org_name>Re\x01porter</org_name>" }),
    ["control-characters"],
    (r) => head(r).orgName,
    "Reporter",
  ],
  [16, "no declaration", xml({ before: "" }), [], (r) => r.ids, ["r1"]],
  [16, "XML 1.1", xml({ before: '<?xml version="1.1"?>' }), [], (r) => r.ids, ["r1"]],
  [
    16,
    "comments, instructions, CDATA",
    xml({ org: "<!-- a --><?b c?><org_name><![CDATA[A & B]]></org_name>" }),
    [],
    (r) => head(r).orgName,
    "A & B",
  ],
  [
    16,
    "upper case",
    xml({}).replace(/<(\/?)(\w+)/g, (_, slash, name) => `<${slash}${name.toUpperCase()}`),
    ["tag-case"],
    (r) => r.ids,
    ["r1"],
  ],
  [16, "a prefix", xml({}).replace(/<(\/?)(\w+)/g, "<$1d:$2"), [], (r) => r.ids, ["r1"]],
  [
    16,
    "another namespace",
    xml({ root: '<feedback xmlns="urn:other">' }),
    ["unknown-namespace"],
    (r) => r.ids,
    ["r1"],
  ],
  [
    16,
    "unknown elements",
    xml({ email: "<email>d@reporter.example</email><phone><n>1</n></phone>" }),
    ["unknown-element"],
    (r) => r.ids,
    ["r1"],
  ],
  [
    18,
    "a bare &",
    xml({ org: "<org_name>A & B</org_name>" }),
    ["xml-repaired"],
    (r) => head(r).orgName,
    "A & B",
  ],
  [
    18,
    "an address as a tag",
    xml({ email: "<email>Reports <d@reporter.example></email>" }),
    ["xml-repaired", "email-repaired"],
    (r) => head(r).email,
    "d@reporter.example",
  ],
  [18, "a stray </xs:schema>", xml({ more: "</xs:schema>" }), ["xml-repaired"], (r) => r.ids, ["r1"]],
  [18, "the end missing", xml({ after: "" }), ["xml-truncated"], (r) => r.records.length, 1],
  [
    18,
    "cut in the second record",
    xml({ more: RECORD, after: "" }).slice(0, -60),
    ["xml-truncated", "row-dropped"],
    (r) => r.records.length,
    1,
  ],
  [19, "no organisation", xml({ org: "" }), ["org-missing"], (r) => head(r).orgName, "reporter.example"],
  [
    19,
    "an address in brackets",
    xml({ email: "<email>&lt;d@reporter.example&gt;</email>" }),
    ["email-repaired"],
    (r) => head(r).email,
    "d@reporter.example",
  ],
  [
    19,
    "an id in brackets",
    xml({ id: "<report_id>&lt;r1@x&gt;</report_id>" }),
    ["report-id-cleaned"],
    (r) => r.ids,
    ["r1@x"],
  ],
  [19, "no id", xml({ id: "" }), ["report-id-missing"], (r) => /^sha256:[0-9a-f]{64}$/.test(r.ids[0]!), true],
  [
    20,
    "a float",
    xml({ range: "<date_range><begin>1700006400.0</begin><end>1700092799</end></date_range>" }),
    [],
    (r) => head(r).begin,
    1700006400,
  ],
  [
    20,
    "milliseconds",
    xml({ range: "<date_range><begin>1700006400000</begin><end>1700092799000</end></date_range>" }),
    ["date-format"],
    (r) => head(r).end,
    1700092799,
  ],
  [
    20,
    "ISO 8601",
    xml({
      range: "<date_range><begin>2023-11-15T00:00:00Z</begin><end>2023-11-15T23:59:59Z</end></date_range>",
    }),
    ["date-format"],
    (r) => head(r).begin,
    1700006400,
  ],
  [
    20,
    "begin = end",
    xml({ range: "<date_range><begin>1700006400</begin><end>1700006400</end></date_range>" }),
    ["date-equal"],
    (r) => head(r).end,
    1700006400,
  ],
  [
    20,
    "reversed",
    xml({ range: "<date_range><begin>1700092799</begin><end>1700006400</end></date_range>" }),
    ["date-reversed"],
    (r) => head(r).begin,
    1700006400,
  ],
  [
    20,
    "a week",
    xml({ range: "<date_range><begin>1700006400</begin><end>1700611199</end></date_range>" }),
    ["long-span"],
    (r) => head(r).end,
    1700611199,
  ],
  [
    20,
    "three years",
    xml({ range: "<date_range><begin>1600006400</begin><end>1700092799</end></date_range>" }),
    ["span-too-long"],
    (r) => head(r).begin,
    1600006400,
  ],
  [
    20,
    "the future",
    xml({ range: `<date_range><begin>${NOW + 86400}</begin><end>${NOW + 172799}</end></date_range>` }),
    ["future-range"],
    (r) => head(r).begin,
    NOW + 86400,
  ],
  [
    21,
    "two policies",
    xml({
      policy: `${PARTS.policy}<policy_published><domain>other.example</domain><p>reject</p></policy_published>`,
    }),
    ["policy-repeated"],
    (r) => head(r).policy.domain,
    "example.com",
  ],
  [
    21,
    "a domain in capitals with a dot",
    xml({ policy: "<policy_published><domain>EXAMPLE.com.</domain><p>none</p></policy_published>" }),
    ["domain-repaired"],
    (r) => head(r).policy.domain,
    "example.com",
  ],
  [
    21,
    "a domain of other letters",
    xml({ policy: "<policy_published><domain>bücher.example</domain><p>none</p></policy_published>" }),
    ["domain-repaired"],
    (r) => head(r).policy.domain,
    "xn--bcher-kva.example",
  ],
  [
    21,
    "nil, strict and 100%",
    xml({
      policy:
        "<policy_published><domain>example.com</domain><adkim>strict</adkim><p>none</p><sp>nil</sp><pct>100%</pct></policy_published>",
    }),
    ["policy-value"],
    (r) => [head(r).policy.adkim, head(r).policy.sp, head(r).policy.pct],
    ["s", null, 100],
  ],
  [
    21,
    "an empty sp is no default",
    xml({ policy: "<policy_published><domain>example.com</domain><p>reject</p><sp/></policy_published>" }),
    [],
    (r) => head(r).policy.sp,
    null,
  ],
  [
    22,
    "no address",
    xml({ ip: "", more: RECORD }),
    ["row-dropped"],
    (r) => [r.records.length, r.outcome],
    [1, "partial"],
  ],
  [
    22,
    "a count below nothing",
    xml({ count: "<count>-1</count>", more: RECORD }),
    ["row-dropped"],
    (r) => r.records.length,
    1,
  ],
  [
    22,
    "a count in words",
    xml({ count: "<count>two</count>", more: RECORD }),
    ["row-dropped"],
    (r) => r.records.length,
    1,
  ],
  [
    22,
    "a count over 2^53",
    xml({ count: "<count>9007199254740993</count>", more: RECORD }),
    ["row-dropped"],
    (r) => r.records.length,
    1,
  ],
  [22, "1.0", xml({ count: "<count>1.0</count>" }), ["count-format"], (r) => first(r).count, 1],
  [22, "0", xml({ count: "<count>0</count>" }), ["count-zero"], (r) => first(r).count, 0],
  [
    22,
    "only bad rows",
    xml({ ip: "" }),
    ["row-dropped"],
    (r) => [r.outcome, r.records.length],
    ["partial", 0],
  ],
  [
    23,
    "IPv6 in capitals",
    xml({ ip: "<source_ip>2001:DB8:0:0::1</source_ip>" }),
    ["ip-repaired"],
    (r) => first(r).sourceIp,
    "2001:db8::1",
  ],
  [
    23,
    "IPv4 in IPv6",
    xml({ ip: "<source_ip>::ffff:192.0.2.7</source_ip>" }),
    ["ip-repaired"],
    (r) => first(r).sourceIp,
    "192.0.2.7",
  ],
  [
    23,
    "brackets and zone",
    xml({ ip: "<source_ip>[2001:db8::1%eth0]</source_ip>" }),
    ["ip-repaired"],
    (r) => first(r).sourceIp,
    "2001:db8::1",
  ],
  [
    23,
    "a port",
    xml({ ip: "<source_ip>192.0.2.7:25</source_ip>" }),
    ["ip-repaired"],
    (r) => first(r).sourceIp,
    "192.0.2.7",
  ],
  [
    23,
    "IPv6: before",
    xml({ ip: "<source_ip>IPv6:2001:db8::1</source_ip>" }),
    ["ip-repaired"],
    (r) => first(r).sourceIp,
    "2001:db8::1",
  ],
  [
    23,
    "a host behind",
    xml({ ip: "<source_ip>192.0.2.7 (mx.example)</source_ip>" }),
    ["ip-repaired"],
    (r) => first(r).sourceIp,
    "192.0.2.7",
  ],
  [
    24,
    "no evaluation",
    xml({ evaluated: "" }),
    ["policy-evaluated-missing"],
    (r) => [first(r).dkim, first(r).spf],
    ["unknown", "unknown"],
  ],
  [
    24,
    "softfail is no pass",
    xml({ evaluated: "<disposition>none</disposition><dkim>softfail</dkim><spf></spf>" }),
    ["evaluation-unknown"],
    (r) => [first(r).dkim, first(r).spf],
    ["unknown", "unknown"],
  ],
  [
    24,
    "none is no pass",
    xml({ evaluated: "<disposition>none</disposition><dkim>none</dkim><spf>none</spf>" }),
    [],
    (r) => [first(r).dkim, first(r).spf],
    ["unknown", "unknown"],
  ],
  [
    24,
    "an unknown disposition",
    xml({ evaluated: "<disposition>deferred</disposition><dkim>pass</dkim><spf>fail</spf>" }),
    ["disposition-unknown"],
    (r) => [first(r).disposition, first(r).raw],
    ["unknown", { disposition: "deferred" }],
  ],
  [
    25,
    "hardfail",
    xml({
      auth: "<auth_results><dkim><domain>a.example</domain><result>hardfail</result></dkim></auth_results>",
    }),
    ["auth-result-unknown"],
    (r) => first(r).dkimResults,
    [{ domain: "a.example", selector: null, result: "fail", raw: "hardfail" }],
  ],
  [
    25,
    "unknown, error, invalid",
    xml({
      auth: `<auth_results>${["unknown", "error", "invalid"].map((w) => `<spf><domain>a.example</domain><result>${w}</result></spf>`).join("")}</auth_results>`,
    }),
    [],
    (r) => first(r).spfResults.map((s) => s.result),
    ["temperror", "permerror", "permerror"],
  ],
  [
    25,
    "Pass",
    xml({ auth: "<auth_results><spf><domain>a.example</domain><result>Pass</result></spf></auth_results>" }),
    [],
    (r) => first(r).spfResults[0]!.result,
    "pass",
  ],
  [
    26,
    "an empty reason",
    xml({ evaluated: `${PARTS.evaluated}<reason><type></type><comment>c</comment></reason>` }),
    [],
    (r) => first(r).reasons,
    [{ type: "other", comment: "c" }],
  ],
  [
    26,
    "an unknown reason",
    xml({ evaluated: `${PARTS.evaluated}<reason><type>moon</type></reason>` }),
    ["reason-unknown"],
    (r) => first(r).reasons,
    [{ type: "other", comment: null, raw: "moon" }],
  ],
  [
    26,
    "reasons of old and new schemas, with their language",
    xml({
      evaluated: `${PARTS.evaluated}<reason><type>forwarded</type></reason><reason><type>policy_test_mode</type><comment lang="de">Probe</comment></reason>`,
    }),
    [],
    (r) => first(r).reasons,
    [
      { type: "forwarded", comment: null },
      { type: "policy_test_mode", comment: "Probe", lang: "de" },
    ],
  ],
  [
    27,
    "identities",
    xml({ ids: "<identities><header_from>a.example.com</header_from></identities>" }),
    ["identifiers-alias"],
    (r) => first(r).headerFrom,
    "a.example.com",
  ],
  [
    27,
    "no identifiers",
    xml({ ids: "" }),
    ["identifiers-missing"],
    (r) => [first(r).headerFrom, first(r).envelopeFrom],
    ["example.com", null],
  ],
  [
    27,
    "an address",
    xml({ ids: "<identifiers><header_from>a@example.com</header_from></identifiers>" }),
    ["identifier-address"],
    (r) => first(r).headerFrom,
    "example.com",
  ],
  [
    28,
    "no auth_results",
    xml({ auth: "" }),
    ["auth-results-missing"],
    (r) => [first(r).dkimResults, first(r).spfResults],
    [[], []],
  ],
  [
    28,
    "empty ones",
    xml({
      auth: "<auth_results><dkim/><spf><domain>a.example</domain><result>pass</result></spf></auth_results>",
    }),
    [],
    (r) => first(r).dkimResults,
    [],
  ],
  [
    28,
    "forty signatures",
    xml({
      auth: `<auth_results>${"<dkim><domain>a.example</domain><result>pass</result></dkim>".repeat(40)}</auth_results>`,
    }),
    [],
    (r) => [first(r).dkimResults.length, first(r).dkimResults[0]!.selector],
    [40, null],
  ],
  [
    28,
    "SPF without domain",
    xml({ auth: "<auth_results><spf><result>pass</result></spf></auth_results>" }),
    ["auth-domain-missing"],
    (r) => first(r).spfResults[0],
    { domain: null, scope: null, result: "pass" },
  ],
  [
    29,
    "no record",
    xml({}).replace(RECORD, ""),
    ["no-records"],
    (r) => [r.outcome, r.records.length],
    ["imported-with-warnings", 0],
  ],
  [
    36,
    "__proto__ is data",
    xml({ org: "<__proto__>x</__proto__><org_name>constructor</org_name>" }),
    ["unknown-element"],
    (r) => head(r).orgName,
    "constructor",
  ],
  [
    36,
    "a field that is too long",
    xml({ org: `<org_name>${"x".repeat(5000)}</org_name>` }),
    ["field-cut"],
    (r) => head(r).orgName.length,
    4096,
  ],
];

/** Rule 17, 20, 21: what is refused, and why. */
const REFUSED: [number, string, string, string][] = [
  [17, "a document type", xml({ before: "<!DOCTYPE feedback>" }), "doctype"],
  [17, "33 elements deep", xml({ more: `${"<a>".repeat(40)}${"</a>".repeat(40)}` }), "too-deep"],
  [
    17,
    "201 attributes",
    xml({ more: `<a ${Array.from({ length: 201 }, (_, i) => `a${i}="1"`).join(" ")}/>` }),
    "bad-xml",
  ],
  [
    20,
    "dates that are none",
    xml({ range: "<date_range><begin>soon</begin><end>0</end></date_range>" }),
    "bad-date-range",
  ],
  [21, "no policy", xml({ policy: "" }), "missing-policy"],
  [
    21,
    "no policy domain",
    xml({ policy: "<policy_published><p>none</p></policy_published>" }),
    "missing-domain",
  ],
  [14, "no metadata", xml({}).replace(/<report_metadata>.*<\/report_metadata>/, ""), "bad-date-range"],
  [14, "nothing in it", "<feedback><version>1.0</version></feedback>", "missing-metadata"],
  [16, "other XML", "<?xml version='1.0'?><html><body/></html>", "not-feedback"],
];

describe("a DMARC report", () => {
  for (const [rule, name, raw, codes, of, expected] of DMARC) {
    it(`rule ${rule}: ${name}`, () => {
      const found = readFile(raw);
      expect(found.reason === null || found.outcome === "partial", `${found.reason} ${found.detail}`).toBe(
        true,
      );
      expect(of(found)).toEqual(expected);
      expect([...found.warnings].sort()).toEqual([...codes].sort());
    });
  }
  for (const [rule, name, raw, reason] of REFUSED) {
    it(`rule ${rule}: ${name} is refused`, () => {
      const found = readFile(raw, "r.xml");
      expect([found.outcome, found.reason, found.ids, found.heads]).toEqual(["invalid", reason, [], []]);
    });
  }

  it("rule 19: an id is taken from the Subject", () => {
    const subject =
      "Subject: Report Domain: example.com Submitter: reporter.example Report-ID: <from-subject>\r\n";
    const found = read(
      mail([{ type: "text/xml", body: xml({ id: "" }) }], { head: `From: a@b.example\r\n${subject}` }),
    );
    expect([found.ids, found.warnings]).toEqual([["from-subject"], ["report-id-missing"]]);
  });

  it("rule 20: dates are taken from the file name", () => {
    const found = readFile(xml({ range: "" }), "reporter.example!example.com!1700006400!1700092799.xml");
    expect([head(found).begin, head(found).end, found.warnings]).toEqual([
      1700006400,
      1700092799,
      ["date-from-name"],
    ]);
  });

  it("RFC 9990: np, testing, discovery_method, generator, lang and extensions are kept", () => {
    const policy =
      "<policy_published><domain>example.com</domain><discovery_method>treewalk</discovery_method><p>reject</p><sp>none</sp><np>quarantine</np><testing>y</testing></policy_published>";
    const found = readFile(
      xml({
        root: '<feedback xmlns="urn:ietf:params:xml:ns:dmarc-2.0" xmlns:e="urn:ext">',
        email: '<email>d@reporter.example</email><extra_contact_info lang="fr">ici</extra_contact_info>',
        range: `${PARTS.range}<generator>gen 1.0</generator>`,
        policy,
      }).replace("<record>", '<e:extra a="1"><e:b>c</e:b></e:extra><record>'),
    );
    expect(head(found)).toMatchObject({
      flavour: "rfc9990",
      generator: "gen 1.0",
      extraContactInfo: { text: "ici", lang: "fr" },
      policy: { p: "reject", sp: "none", np: "quarantine", testing: "y", discoveryMethod: "treewalk" },
    });
    expect(head(found).extensions).toBe('<e:extra xmlns:e="urn:ext" a="1"><e:b>c</e:b></e:extra>');
    expect(found.warnings).toEqual([]);
  });

  it("RFC 9990: extensions of a record are kept with it; one behind the records is noted", () => {
    const found = readFile(
      xml({ auth: `${PARTS.auth}<e:x xmlns:e="urn:e">1</e:x>`, more: '<e:y xmlns:e="urn:e"/>' }),
    );
    expect(first(found).extensions).toBe('<e:x xmlns:e="urn:e">1</e:x>');
    expect(found.warnings).toEqual(["unknown-element"]);
  });
});

// ---- TLS ------------------------------------------------------------------------------------

const TLS = {
  "organization-name": "Reporter",
  "date-range": { "start-datetime": "2023-11-15T00:00:00Z", "end-datetime": "2023-11-15T23:59:59Z" },
  "contact-info": "t@reporter.example",
  "report-id": "t1",
};
const POLICY = { "policy-type": "sts", "policy-string": ["version: STSv1"], "policy-domain": "example.com" };
const SUMMARY = { "total-successful-session-count": 3, "total-failure-session-count": 2 };
const DETAIL = {
  "result-type": "certificate-expired",
  "sending-mta-ip": "192.0.2.1",
  "failed-session-count": 2,
};
const FULL = { policy: POLICY, summary: SUMMARY, "failure-details": [DETAIL] };

/** A TLS report whose members are replaced; undefined ones are left out. */
const tls = (members: object, policy: object = FULL) =>
  JSON.stringify({ ...TLS, policies: [policy], ...members });
const ofPolicy = (changes: object) => tls({}, { ...FULL, policy: { ...POLICY, ...changes } });
const ofDetail = (changes: object) => tls({}, { ...FULL, "failure-details": [{ ...DETAIL, ...changes }] });

function readTls(raw: string | Buffer, fileName = "t.json") {
  const policies: TlsPolicyResult[] = [];
  const heads: TlsHead[] = [];
  const reading = readMail(Buffer.from(raw), { form: "file", fileName, receivedAt: NOW }, LIMITS, () => 0, {
    open(about) {
      heads.push(about as TlsHead);
      return { record() {}, policy: (p) => void policies.push(p), close: () => "new", abort() {} };
    },
    whole: () => "new",
  });
  const [item] = reading.items;
  return {
    head: heads[0]!,
    policy: policies[0]!,
    policies,
    item,
    reason: item && !item.ok ? item.reason : reading.reason,
    codes: item?.ok ? item.figures.warnings.map((w) => w.code) : [],
  };
}
type TlsRead = ReturnType<typeof readTls>;

const TLS_CASES: [number, string, string | Buffer, string[], (r: TlsRead) => unknown, unknown][] = [
  [30, "a BOM", `\ufeff${tls({})}`, [], (r) => r.head.reportId, "t1"],
  [
    30,
    "mx-host as one string",
    ofPolicy({ "mx-host": "mx.example.com" }),
    [],
    (r) => r.policy.mxHosts,
    ["mx.example.com"],
  ],
  [
    30,
    "policy-string as one string",
    ofPolicy({ "policy-string": "version: STSv1" }),
    ["json-shape"],
    (r) => r.policy.policyStrings,
    ["version: STSv1"],
  ],
  [
    30,
    "mx-host-pattern",
    ofPolicy({ "mx-host-pattern": ["*.example.com"] }),
    ["key-alias"],
    (r) => r.policy.mxHosts,
    ["*.example.com"],
  ],
  [
    30,
    "additional-info-uri",
    ofDetail({ "additional-info-uri": "https://a.example" }),
    ["key-alias"],
    (r) => r.policy.details[0]!.additionalInformation,
    "https://a.example",
  ],
  [30, "contact-info null", tls({ "contact-info": null }), ["contact-missing"], (r) => r.head.email, null],
  [
    30,
    "contact-info a list",
    tls({ "contact-info": ["t@reporter.example"] }),
    ["contact-format"],
    (r) => r.head.email,
    "t@reporter.example",
  ],
  [
    30,
    "no organisation",
    tls({ "organization-name": undefined }),
    ["org-missing"],
    (r) => r.head.orgName,
    "reporter.example",
  ],
  [
    30,
    "no id",
    tls({ "report-id": undefined }),
    ["report-id-missing"],
    (r) => r.head.reportId.startsWith("sha256:"),
    true,
  ],
  [30, "no policies", tls({ policies: [] }), ["no-policies"], (r) => r.policies, []],
  [
    30,
    "no policy domain",
    ofPolicy({ "policy-domain": undefined }),
    ["policy-domain-missing"],
    (r) => r.policy.policyDomain,
    null,
  ],
  [
    31,
    "no zone",
    tls({ "date-range": { "start-datetime": "2023-11-15T00:00:00", "end-datetime": "2023-11-15T23:59:59" } }),
    ["date-no-zone"],
    (r) => r.head.begin,
    1700006400,
  ],
  [
    31,
    "offsets and fractions",
    tls({
      "date-range": {
        "start-datetime": "2023-11-15T01:00:00.5+01:00",
        "end-datetime": "2023-11-15T23:59:59Z",
      },
    }),
    [],
    (r) => r.head.begin,
    1700006400,
  ],
  [
    31,
    "a policy type in capitals",
    ofPolicy({ "policy-type": "STS" }),
    [],
    (r) => r.policy.policyType,
    "sts",
  ],
  [
    31,
    "an unknown policy type",
    ofPolicy({ "policy-type": "moon" }),
    ["policy-type-unknown"],
    (r) => [r.policy.policyType, r.policy.policyTypeRaw],
    ["unknown", "moon"],
  ],
  [
    31,
    "an unknown result type",
    ofDetail({ "result-type": "moon" }),
    ["result-type-unknown"],
    (r) => r.policy.details[0]!.resultType,
    "moon",
  ],
  [
    31,
    "counts as strings",
    tls(
      {},
      { ...FULL, summary: { "total-successful-session-count": "3", "total-failure-session-count": "2" } },
    ),
    ["count-format"],
    (r) => r.policy.successes,
    3,
  ],
  [
    31,
    "no summary",
    tls({}, { policy: POLICY, "failure-details": [DETAIL] }),
    ["summary-missing"],
    (r) => [r.policy.successes, r.policy.failures],
    [0, 2],
  ],
  [31, "another sum", ofDetail({ "failed-session-count": 1 }), ["sum-differs"], (r) => r.policy.failures, 2],
  [
    31,
    "details null",
    tls({}, { ...FULL, "failure-details": null, summary: { ...SUMMARY, "total-failure-session-count": 0 } }),
    [],
    (r) => r.policy.details,
    [],
  ],
  [
    31,
    "details an object",
    tls({}, { ...FULL, "failure-details": DETAIL }),
    ["json-shape"],
    (r) => r.policy.details.length,
    1,
  ],
  [
    31,
    "a bad address is kept",
    ofDetail({ "sending-mta-ip": "mx.example" }),
    ["ip-repaired"],
    (r) => r.policy.details[0]!.sendingMtaIp,
    "mx.example",
  ],
  [
    36,
    "a member twice",
    tls({}).replace('"report-id":"t1"', '"report-id":"t0","report-id":"t1"'),
    ["json-repeated-key"],
    (r) => r.head.reportId,
    "t1",
  ],
  [
    36,
    "__proto__ is data",
    tls({}).replace('"report-id"', '"__proto__":{"x":1},"report-id"'),
    [],
    (r) => [r.head.reportId, ({} as { x?: number }).x],
    ["t1", undefined],
  ],
];

const TLS_REFUSED: [number, string, string, string][] = [
  [31, "no dates", tls({ "date-range": undefined }), "bad-date-range"],
  [
    31,
    "a count below nothing",
    tls({}, { ...FULL, summary: { ...SUMMARY, "total-successful-session-count": -1 } }),
    "bad-count",
  ],
  [
    31,
    "1e999",
    tls({}).replace('"total-successful-session-count":3', '"total-successful-session-count":1e999'),
    "bad-count",
  ],
  [
    31,
    "a count over 2^53",
    tls({}, { ...FULL, summary: { ...SUMMARY, "total-failure-session-count": 2 ** 60 } }),
    "bad-count",
  ],
  [30, "JSON that is cut", tls({}).slice(0, -5), "bad-json"],
];

describe("a TLS report", () => {
  for (const [rule, name, raw, codes, of, expected] of TLS_CASES) {
    it(`rule ${rule}: ${name}`, () => {
      const found = readTls(raw);
      expect(found.reason).toBeNull();
      expect(of(found)).toEqual(expected);
      expect([...found.codes].sort()).toEqual([...codes].sort());
    });
  }
  for (const [rule, name, raw, reason] of TLS_REFUSED) {
    it(`rule ${rule}: ${name} is refused`, () => expect(readTls(raw).reason).toBe(reason));
  }

  it("rule 31: dates are taken from the file name", () => {
    const found = readTls(
      tls({ "date-range": {} }),
      "reporter.example!example.com!1700006400!1700092799.json",
    );
    expect([found.head.begin, found.codes]).toEqual([1700006400, ["date-from-name"]]);
  });
});
