/** What we compose, judged by others: xmllint, a JSON schema validator, two DKIM verifiers, Mail::DMARC. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import fc from "fast-check";
import { dkimVerify } from "mailauth/lib/dkim/verify.js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { composeDocuments, composeMail } from "../../src/format/compose/compose.ts";
import { readBackDmarc } from "../../src/format/compose/read-back-dmarc.ts";
import { readBackForeign } from "../../src/format/compose/read-back-foreign.ts";
import { readBackTls } from "../../src/format/compose/read-back-tls.ts";
import { dmarcPieces } from "../../src/format/dmarc/write.ts";
import {
  dkimRecord,
  generateSigningKey,
  loadSigningKey,
  type SigningKey,
} from "../../src/format/mail/dkim-sign.ts";
import { tlsValue, writeTls } from "../../src/format/tlsrpt/write.ts";
import type { DmarcRow } from "../../src/model/evaluation.ts";
import { ROOT } from "../support/build.ts";
import { have, havePerl, pythonWith } from "../support/have.ts";
import { dmarcInput, dmarcRow, identity, manyRows, tlsRow } from "../support/outgoing.ts";

const XSD = join(ROOT, "test/data/xsd");
const rsa = loadSigningKey(generateSigningKey("rsa"), "example.org", "r1");
const ed25519 = loadSigningKey(generateSigningKey("ed25519"), "example.org", "e1");

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "compose-"));
});
afterAll(() => rmSync(dir, { recursive: true }));

function xmllint(xml: string, schema: string): string {
  const file = join(dir, "report.xml");
  writeFileSync(file, xml);
  const ran = spawnSync("xmllint", ["--noout", "--schema", join(XSD, schema), file], { encoding: "utf8" });
  return ran.status === 0 ? "valid" : ran.stderr;
}

/** The schema of RFC 7489 has no namespace; its reports had none. */
const without = (xml: string) => xml.replace(' xmlns="urn:ietf:params:xml:ns:dmarc-2.0"', "");
const xmlOf = (input: Parameters<typeof composeDocuments>[0]) =>
  gunzipSync(composeDocuments(input)[0]!.body).toString();

const domain = fc.constantFrom("sender.example", "news.sender.example", "xn--bcher-kva.example");
const text = fc.string({ unit: "binary", maxLength: 30 });
const row: fc.Arbitrary<DmarcRow> = fc.record({
  sourceIp: fc.oneof(fc.ipV4(), fc.constant("2001:db8::25")),
  disposition: fc.constantFrom("none", "quarantine", "reject"),
  dkimAligned: fc.boolean(),
  spfAligned: fc.boolean(),
  reasons: fc.array(
    fc.record({
      type: fc.constantFrom("local_policy", "mailing_list", "other", "trusted_forwarder"),
      comment: fc.option(text),
    }),
    { maxLength: 2 },
  ),
  headerFrom: domain,
  envelopeFrom: fc.option(fc.oneof(domain, fc.constant(""))),
  envelopeTo: fc.option(domain),
  dkim: fc.array(
    fc.record({
      domain,
      selector: fc.constantFrom("s1", "s2"),
      result: fc.constantFrom("none", "pass", "fail", "policy", "neutral", "temperror", "permerror"),
      humanResult: fc.option(text),
    }),
    { maxLength: 3 },
  ),
  spf: fc.option(
    fc.record({
      domain,
      result: fc.constantFrom("none", "pass", "fail", "softfail", "neutral", "temperror", "permerror"),
      humanResult: fc.option(text),
    }),
  ),
});

describe("composed DMARC reports", () => {
  it.skipIf(!have("xmllint"))("pass both schemas, whatever was counted", () => {
    fc.assert(
      fc.property(fc.array(row, { minLength: 1, maxLength: 4 }), text, (rows, orgName) => {
        const input = dmarcInput(
          rows.map((r, i) => ({ kind: "dmarc", row: r, count: i + 1 })),
          {
            identity: { ...identity, orgName: `Org ${orgName}` },
          },
        );
        const xml = xmlOf(input);
        expect(xmllint(xml, "dmarc-rfc9990.xsd")).toBe("valid");
        expect(xmllint(without(xml), "dmarc-rfc7489.xsd")).toBe("valid");
      }),
      { numRuns: 40, seed: 9990 },
    );
  });

  it.skipIf(!have("xmllint"))(
    "in the profile rfc9990, and where only it can tell the policy, pass its schema",
    () => {
      const rows = [{ kind: "dmarc", row: dmarcRow({ dkimAligned: true }), count: 2 }] as const;
      const full = xmlOf(dmarcInput(rows, { profile: "rfc9990", note: "temporary DNS error" }));
      expect(xmllint(full, "dmarc-rfc9990.xsd")).toBe("valid");
      expect(full).toContain("<disposition>pass</disposition>");
      const input = dmarcInput(rows);
      const policy =
        input.policy.kind === "dmarc" ? { ...input.policy.policy, testing: "y" as const } : undefined;
      const tested = xmlOf({ ...input, policy: { kind: "dmarc", rua: [], policy: policy! } });
      expect(tested).toContain("<testing>y</testing>");
      expect(xmllint(tested, "dmarc-rfc9990.xsd")).toBe("valid");
    },
  );

  it("say why the applied policy is not the published one", () => {
    const failed = dmarcRow({ dkimAligned: false, spfAligned: false, disposition: "none" });
    expect(xmlOf(dmarcInput([{ kind: "dmarc", row: failed, count: 1 }]))).toContain(
      "<reason><type>local_policy</type></reason>",
    );
    const rejected = dmarcRow({ dkimAligned: false, spfAligned: false, disposition: "reject" });
    expect(xmlOf(dmarcInput([{ kind: "dmarc", row: rejected, count: 1 }]))).not.toContain("<reason>");
  });

  it("are refused when the text does not say what was counted", () => {
    const input = dmarcInput([{ kind: "dmarc", row: dmarcRow(), count: 7 }]);
    if (input.policy.kind !== "dmarc") throw new Error("not a DMARC report");
    const document = {
      identity,
      reportId: "x",
      begin: 1,
      end: 2,
      policy: input.policy.policy,
      rows: [{ row: dmarcRow(), count: 7 }],
      note: null,
      profile: "both" as const,
    };
    const xml = [...dmarcPieces(document)].join("");
    for (const readBack of [readBackDmarc, readBackForeign]) {
      expect(() => readBack(Buffer.from(xml), document)).not.toThrow();
      for (const [from, to] of [
        ["<count>7<", "<count>8<"],
        ["<dkim>pass<", "<dkim>fail<"],
        ["</record>", ""],
        ["192.0.2.10", "192.0.2.11"],
        ["<end>2<", "<end>3<"],
        ["<p>reject<", "<p>none<"],
        ["<header_from>sender", "<header_from>tender"],
        ["<result>fail<", "<result>pass<"],
        ["</feedback>", xml.slice(xml.indexOf("  <record>"))],
        [xml.slice(xml.indexOf("  <record>")), "</feedback>"],
      ] as const) {
        const forged = xml.replace(from, to);
        expect(forged, from).not.toBe(xml);
        expect(() => readBack(Buffer.from(forged), document), `${readBack.name} ${from}`).toThrow(
          /does not read back/,
        );
      }
    }
  });

  it("are split when they are too large, and every message is counted once", () => {
    const rows = manyRows(5000);
    const documents = composeDocuments(dmarcInput(rows, { maxMessageSize: 30_000 }));
    expect(documents.length).toBeGreaterThan(1);
    expect(documents.reduce((n, d) => n + d.messages, 0)).toBe(
      rows.reduce((n, r) => n + (r.kind === "dmarc" ? r.count : 0), 0),
    );
    expect(new Set(documents.map((d) => d.fileName)).size).toBe(documents.length);
    for (const d of documents)
      expect(d.fileName).toMatch(/^mx\.example\.org!sender\.example!\d+!\d+![A-Za-z0-9]+\.xml\.gz$/);
  });

  it.skipIf(!havePerl("Mail::DMARC"))("are read by Mail::DMARC with equal figures", () => {
    const rows = [
      { kind: "dmarc", row: dmarcRow(), count: 3 },
      {
        kind: "dmarc",
        row: dmarcRow({ sourceIp: "2001:db8::25", dkimAligned: false, disposition: "reject" }),
        count: 4,
      },
    ] as const;
    const file = join(dir, "report.xml");
    writeFileSync(file, without(xmlOf(dmarcInput(rows))));
    const script = `use strict; use warnings; use XML::LibXML; use Mail::DMARC::Report::Receive;
      package Keep; our @ISA = ('Mail::DMARC::Report::Receive'); package main;
      my $r = Mail::DMARC::Report::Receive->new; my $report = $r->report;
      my $dom = XML::LibXML->load_xml(location => $ARGV[0]); my $n = 0; my $pass = 0;
      $r->do_node_report_metadata($dom->findnodes('/feedback/report_metadata')->[0]);
      $r->do_node_policy_published($dom->findnodes('/feedback/policy_published')->[0]);
      print $report->aggregate->metadata->report_id, ' ', $report->aggregate->metadata->begin, ' ', $report->aggregate->metadata->end, ' ', $report->aggregate->policy_published->domain;
      for my $node ($dom->findnodes('/feedback/record')) { $r->do_node_record($node); }
      for my $rec (@{$report->aggregate->record}) { $n += $rec->row->count; $pass += $rec->row->count if $rec->row->policy_evaluated->dkim eq 'pass' || $rec->row->policy_evaluated->spf eq 'pass'; }
      print " $n $pass\\n";`;
    const ran = spawnSync("perl", ["-e", script, file], { encoding: "utf8" });
    expect(ran.stdout.trim(), ran.stderr).toBe(
      "d20261119abcdefghijkl0 1795046400 1795132799 sender.example 7 3",
    );
  });
});

describe("composed TLS reports", () => {
  it("pass the schema of RFC 8460", () => {
    const ajv = new Ajv2020({ strictTypes: false });
    addFormats.default(ajv);
    const validate = ajv.compile(JSON.parse(readFileSync(join(XSD, "tlsrpt-rfc8460.schema.json"), "utf8")));
    const [document] = composeDocuments(
      dmarcInput([tlsRow], { kind: "tls", policy: { kind: "tls", record: null } }),
    );
    const json = JSON.parse(gunzipSync(document!.body).toString());
    expect(validate(json), JSON.stringify(validate.errors)).toBe(true);
    expect(json["report-id"]).toBe(document!.reportId);
    expect(document!.messages).toBe(44);
  });

  it("are refused when the text does not say what was counted", () => {
    const rows = [tlsRow].filter((each) => each.kind === "tls");
    const document = { identity, reportId: "t1@mx.example.org", begin: 1795046400, end: 1795132799, rows };
    const value = tlsValue(document);
    const text = writeTls(value);
    expect(() => readBackTls(Buffer.from(text), value, document)).not.toThrow();
    for (const [from, to] of [
      ['session-count":41', 'session-count":40'],
      ['"certificate-expired"', '"dane-required"'],
      ['"policies":[', '"policies":[],"x":['],
    ] as const) {
      const forged = text.replace(from, to);
      expect(forged).not.toBe(text);
      expect(() => readBackTls(Buffer.from(forged), value, document), from).toThrow(/does not read back/);
    }
  });
});

describe("the message", () => {
  const make = (kind: "dmarc" | "tls", keys: readonly SigningKey[] = [rsa, ed25519]) => {
    const input =
      kind === "dmarc"
        ? dmarcInput(manyRows(30))
        : dmarcInput([tlsRow], { kind, policy: { kind, record: null } });
    return composeMail(input, composeDocuments(input)[0]!, "dmarc@sender.example", 1, 1795140000, keys);
  };

  it("has the same bytes every time", () => {
    expect(Buffer.compare(make("dmarc").raw, make("dmarc").raw)).toBe(0);
  });

  it("is ASCII in lines of 998 at most, with one report id in Subject, file and Message-ID", () => {
    const { raw, document } = make("tls");
    const text = Buffer.from(raw).toString("latin1");
    expect(text).toMatch(/^[\x20-\x7e\r\n\t]*$/);
    expect(Math.max(...text.split("\r\n").map((line) => line.length))).toBeLessThanOrEqual(998);
    expect(text).not.toMatch(/[^\r]\n|\r[^\n]/);
    const unfolded = text.replace(/\r\n(?=[ \t])/g, "");
    expect(unfolded).toMatch(
      /^Subject: Report Domain: sender\.example Submitter: mx\.example\.org Report-ID: <[a-z0-9]+@mx\.example\.org>\r$/m,
    );
    expect(unfolded).toContain(`Report-ID: <${document.reportId}>`);
    expect(unfolded).toMatch(/^TLS-Required: No\r$/m);
    expect(unfolded).toMatch(/^Auto-Submitted: auto-generated\r$/m);
    expect(unfolded).toMatch(/filename="mx\.example\.org!sender\.example!1795046400!1795132799\.json\.gz"/);
  });

  const answer = async (name: string) => {
    const record = [rsa, ed25519].map(dkimRecord).find((r) => r.startsWith(`${name}.`));
    if (!record) throw Object.assign(new Error("none"), { code: "ENOTFOUND" });
    return [[...record.matchAll(/"([^"]*)"/g)].map((m) => m[1]!)];
  };

  it("carries an RSA and an Ed25519 signature that mailauth accepts, and no change to a signed field", async () => {
    for (const kind of ["dmarc", "tls"] as const) {
      const raw = Buffer.from(make(kind).raw);
      const good = await dkimVerify(raw, { resolver: answer });
      expect(
        good.results
          .map((r) => `${String((r as unknown as { algo: string }).algo)} ${r.status.result}`)
          .sort(),
        kind,
      ).toEqual(["ed25519-sha256 pass", "rsa-sha256 pass"]);
      const forged = Buffer.from(
        raw.toString("latin1").replace("Subject: Report", "Subject: report"),
        "latin1",
      );
      const added = Buffer.concat([Buffer.from("Subject: second\r\n"), raw]);
      for (const bad of [forged, added]) {
        const result = await dkimVerify(bad, { resolver: answer });
        expect(result.results.every((r) => r.status.result !== "pass")).toBe(true);
      }
    }
  });

  const python = pythonWith("dkim");
  it.skipIf(!python)("carries a signature that dkimpy accepts", async () => {
    const file = join(dir, "mail.eml");
    writeFileSync(file, make("dmarc", [rsa]).raw);
    const record = (await answer("r1._domainkey.example.org"))[0]!.join("");
    const script =
      "import dkim,sys\nm=open(sys.argv[1],'rb').read()\nprint(dkim.verify(m,dnsfunc=lambda n,timeout=5: sys.argv[2].encode()))";
    const ran = spawnSync(python!, ["-c", script, file, record], { encoding: "utf8" });
    expect(ran.stdout.trim(), ran.stderr).toBe("True");
  });
});
