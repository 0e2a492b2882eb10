/** Which reports a mail or file holds, and why it holds none (rules 1 to 9, 13). */
import { describe, expect, it } from "vitest";
import type { Outcome, Reason } from "../../src/model/outcome.ts";
import {
  dmarcXml,
  gz,
  mail,
  NOW,
  part,
  read,
  readFile,
  single,
  tar,
  tlsJson,
  zip,
} from "../support/reading.ts";

const XML = dmarcXml();
const NAME = "reporter.example!example.com!1700006400!1700092799.xml";

/** A mail in which these reports are found, and nothing that needs a warning. */
const good = (what: string, raw: Uint8Array | string, ids: readonly string[] = ["r1"]) =>
  it(what, () => {
    const found = read(raw);
    expect(found.ids).toEqual(ids);
    expect(found.refused).toEqual([]);
    expect(found.outcome).toBe("imported");
  });

/** A mail without a report, and what becomes of it. */
const bad = (what: string, raw: Uint8Array | string, outcome: Outcome, reason: Reason) =>
  it(what, () => {
    const found = read(raw);
    expect(found.ids).toEqual([]);
    expect([found.outcome, found.reason]).toEqual([outcome, reason]);
  });

describe("a report is found by its content", () => {
  good(
    "as the labels say",
    mail([{ type: "application/gzip", name: `${NAME}.gz`, encoding: "base64", body: gz(XML) }]),
  );
  good(
    "labelled gzip, is zip",
    mail([
      {
        type: "application/gzip",
        name: "r.xml.gz",
        encoding: "base64",
        body: zip([{ name: "r.xml", content: XML }]),
      },
    ]),
  );
  good(
    "labelled zip, is gzip",
    mail([{ type: "application/zip", name: "r.zip", encoding: "base64", body: gz(XML) }]),
  );
  good(
    "labelled gzip, is XML",
    mail([{ type: "application/gzip", name: "r.xml.gz", encoding: "base64", body: XML }]),
  );
  good(
    "labelled as a picture",
    mail([{ type: "image/png", name: "a.png", encoding: "base64", body: gz(XML) }]),
  );
  good("without any label", mail([{ encoding: "base64", body: gz(XML) }]));
  good("as the whole mail, gzip", single({ type: "application/gzip", encoding: "base64", body: gz(XML) }));
  good("as the whole mail, XML", single({ type: "text/xml", body: XML }));
  good("as the whole mail without a Content-Type", single({ body: XML }));
  good("as the whole mail, coded but not labelled so", single({ body: gz(XML).toString("base64") }));
  good("as the whole mail without headers", gz(XML));
  good("in a text/plain part", mail([{ type: "text/plain", body: XML }]));
  good(
    "in quoted-printable",
    mail([
      {
        type: "text/xml",
        encoding: "quoted-printable",
        body: XML.replaceAll("=", "=3D").replace("<record>", "=\r\n<record>"),
      },
    ]),
  );
  good(
    "under an upper-case name",
    mail([{ type: "APPLICATION/GZIP", name: "R.XML.GZ", encoding: "BASE64".toLowerCase(), body: gz(XML) }]),
  );
  good(
    "with bare line feeds",
    mail([{ type: "text/xml", body: XML }])
      .toString()
      .replaceAll("\r\n", "\n"),
  );
  good(
    "behind an mbox line",
    `From x@y Thu Nov 16 01:00:00 2023\n${mail([{ type: "text/xml", body: XML }])}`,
  );
  good("in a multipart without a boundary parameter", `Content-Type: multipart/mixed\r\n\r\n${XML}`);
  good(
    "as TLS JSON in octet-stream",
    mail([{ type: "application/octet-stream", name: "t.json.gz", encoding: "base64", body: gz(tlsJson()) }]),
    ["t1"],
  );
  good(
    "as TLS JSON in its own type",
    mail([{ type: "application/tlsrpt+json", body: tlsJson() }], {
      type: "multipart/report; report-type=tlsrpt",
    }),
    ["t1"],
  );
  good(
    "in a signed mail",
    mail(
      [
        part({
          type: "multipart/mixed; boundary=in",
          body: `--in\r\nContent-Type: text/xml\r\n\r\n${XML}\r\n--in--`,
        }),
        { type: "application/pkcs7-signature", encoding: "base64", body: "sig" },
      ],
      { type: "multipart/signed" },
    ),
  );
});

describe("all reports of a mail are kept", () => {
  const xml = (id: string) => ({ type: "text/xml", body: dmarcXml(id) });
  good("two parts", mail([xml("a"), xml("b")]), ["a", "b"]);
  good("DMARC and TLS", mail([xml("a"), { type: "application/json", body: tlsJson("b") }]), ["a", "b"]);
  good(
    "HTML first, which blocks nothing",
    mail([{ type: "text/html", body: "<html><body>Your report</body></html>" }, xml("a")]),
    ["a"],
  );
  good(
    "in deep multiparts",
    mail([
      part({
        type: "multipart/mixed; boundary=i",
        body: `--i\r\n\r\ntext\r\n--i\r\nContent-Type: text/xml\r\n\r\n${dmarcXml("a")}\r\n--i--`,
      }),
      xml("b"),
    ]),
    ["a", "b"],
  );
  it("one bad part stops no other", () => {
    const found = read(
      mail([
        { type: "application/gzip", name: "x.xml.gz", encoding: "base64", body: gz(XML).subarray(0, 60) },
        xml("b"),
      ]),
    );
    expect(found.ids).toEqual(["b"]);
    expect(found.refused).toEqual(["truncated"]);
    expect(found.outcome).toBe("partial");
  });
});

describe("forwarded mails", () => {
  const inner = mail([{ type: "text/xml", body: XML }], { boundary: "inner" });
  const forward = (body: Uint8Array, depth: number, encoding?: string): Buffer =>
    depth === 0
      ? Buffer.from(body)
      : mail(
          [
            { type: "text/plain", body: "FYI" },
            {
              type: "message/rfc822",
              ...(encoding ? { encoding } : {}),
              body: forward(body, depth - 1, encoding),
            },
          ],
          { boundary: `f${depth}` },
        );
  const forwarded = (what: string, raw: Buffer) =>
    it(what, () => {
      const found = read(raw);
      expect(found.ids).toEqual(["r1"]);
      expect(found.warnings).toEqual(["forwarded"]);
      expect(found.outcome).toBe("imported");
    });
  forwarded("are looked into", forward(inner, 1));
  forwarded("coded in base64, too", forward(inner, 1, "base64"));
  forwarded("four deep, too", forward(inner, 4));
  forwarded(
    "as an .eml file",
    mail([{ type: "application/octet-stream", name: "fwd.eml", encoding: "base64", body: inner }]),
  );
  forwarded("as the whole mail", single({ type: "message/rfc822", body: inner }));
  bad("five deep are not", forward(inner, 5), "not-a-report", "too-deep");
  it("give their own Subject as the hint for a lost id", () => {
    const lost = mail([{ type: "text/xml", body: XML.replace("<report_id>r1</report_id>", "") }], {
      boundary: "in",
      head: "From: a@b\r\nSubject: Report Domain: example.com Submitter: x Report-ID: <lost-1>\r\n",
    });
    expect(read(forward(lost, 1)).ids).toEqual(["lost-1"]);
  });
});

describe("HTML", () => {
  const escaped = XML.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  it("is searched for an escaped report when nothing else is found", () => {
    const found = read(
      single({
        type: "text/html",
        body: `<html><body><pre>${escaped.replaceAll("&gt;&lt;", "&gt;<br>\n&lt;")}</pre></body></html>`,
      }),
    );
    expect(found.ids).toEqual(["r1"]);
    expect(found.warnings).toContain("html-escaped");
  });
  good(
    "is not searched when another report is there",
    mail([
      { type: "text/html", body: `<html>${escaped}</html>` },
      { type: "text/xml", body: dmarcXml("real") },
    ]),
    ["real"],
  );
  bad(
    "that is an advertisement is no report",
    single({ type: "text/html", body: "<html><body>Buy now</body></html>" }),
    "not-a-report",
    "no-report",
  );
});

describe("what is no report", () => {
  bad(
    "an ordinary mail",
    single({ type: "text/plain", body: "Hello,\r\n\r\nhow are you?\r\n" }),
    "not-a-report",
    "no-report",
  );
  bad(
    "a mail with a picture and a text",
    mail([
      { type: "text/plain", body: "look" },
      { type: "image/png", name: "a.png", encoding: "base64", body: "\x89PNG" },
    ]),
    "not-a-report",
    "no-report",
  );
  bad(
    "a mail with JSON of another kind",
    mail([{ type: "application/json", name: "package", body: '{"name": "x"}' }]),
    "not-a-report",
    "no-report",
  );
  bad(
    "a vacation reply",
    single(
      { type: "text/plain", body: "I am away." },
      "From: a@b\r\nSubject: Re: report\r\nAuto-Submitted: auto-replied (vacation)\r\n",
    ),
    "not-a-report",
    "auto-reply",
  );
  bad(
    "an out-of-office reply without the field",
    single(
      { type: "text/plain", body: "Back on Monday" },
      "From: a@b\r\nSubject: Automatic reply: report\r\n",
    ),
    "not-a-report",
    "auto-reply",
  );
  bad("nothing", "", "invalid", "empty");
  bad("one line break", "\r\n", "not-a-report", "no-report");
});

describe("what claims to be a report and is none", () => {
  const xml = (body: string | Uint8Array, name = NAME) =>
    mail([{ type: "application/xml", name, encoding: "base64", body }]);
  bad("a picture", xml("\x89PNG\r\n\x1a\n"), "invalid", "not-xml");
  bad("the word unused", xml("unused\n"), "invalid", "placeholder");
  bad("an empty part", xml(""), "invalid", "empty");
  bad("other XML", xml("<?xml version='1.0'?><rss/>"), "invalid", "not-feedback");
  bad("an HTML error page", xml("<!DOCTYPE html><html><body>502</body></html>"), "invalid", "doctype");
  bad(
    "broken JSON",
    mail([{ type: "application/tlsrpt+json", name: "t.json", body: '{"policies": [' }]),
    "invalid",
    "bad-json",
  );
  bad("text that says it is JSON", mail([{ name: "t.json", body: "oops" }]), "invalid", "bad-json");
  bad("an xz file", xml(Buffer.from("\xfd7zXZ\0aaaa", "latin1"), "r.xml"), "invalid", "unsupported-method");
});

describe("a file", () => {
  it("is a report, a container or a saved mail by its content, whatever its name", () => {
    expect(readFile(XML, "r.txt").ids).toEqual(["r1"]);
    expect(readFile(gz(XML), "r.xml").ids).toEqual(["r1"]);
    expect(readFile(mail([{ type: "text/xml", body: XML }]), "r.xml").ids).toEqual(["r1"]);
  });
  it("gives its name as the hint for lost dates", () => {
    const lost = XML.replace(/<date_range>.*<\/date_range>/, "");
    expect(readFile(lost, `/tmp/${NAME}`).heads[0]!.begin).toBe(1_700_006_400);
    expect(readFile(lost, "r.xml").reason).toBe("bad-date-range");
  });
  it("with a lost date takes it from the name of the entry before that of the file", () => {
    const lost = XML.replace(/<date_range>.*<\/date_range>/, "");
    expect(readFile(zip([{ name: NAME, content: lost }]), "a!b!1!2.zip").heads[0]!.begin).toBe(1_700_006_400);
  });
});

describe("labels", () => {
  it("of split and coded file names are joined (RFC 2231)", () => {
    const found = read(
      mail([
        {
          header:
            'Content-Disposition: attachment; filename*0="reporter.example!example.com!";\r\n filename*1*=%31700006400!1700092799.xml',
          body: XML,
        },
      ]),
    );
    expect(found.reading.items[0]!.part.name).toBe(NAME);
  });
  it("stand with the report, and the size as carried", () => {
    const { part: info } = read(
      mail([{ type: "Application/GZIP; name=x.gz", encoding: "base64", body: gz(XML) }]),
    ).reading.items[0]!;
    expect(info.mediaType).toBe("application/gzip");
    expect(info.name).toBe("x.gz");
    expect(info.size).toBeGreaterThan(gz(XML).length);
  });
  it("that contradict the bytes are noted, and the report is imported all the same", () => {
    const found = read(mail([{ header: "Content-Transfer-Encoding: base64", body: XML }]));
    expect(found.ids).toEqual(["r1"]);
    expect(found.warnings).toEqual(["mislabeled-content"]);
    expect(found.outcome).toBe("imported");
  });
});

describe("what was noted about the mail", () => {
  it("stands with its report and decides the outcome", () => {
    const found = read(mail([{ type: "text/xml", body: XML }], { close: false }));
    expect(found.warnings).toEqual(["mime-repaired"]);
    expect(found.outcome).toBe("imported-with-warnings");
  });
  it("about one container says nothing of another", () => {
    const found = read(
      mail([
        { encoding: "base64", body: Buffer.concat([gz(dmarcXml("a")), Buffer.from("garbage")]) },
        { encoding: "base64", body: gz(dmarcXml("b")) },
      ]),
    );
    const items = found.reading.items.map((item) =>
      item.ok ? item.figures.warnings.map((w) => w.code) : [],
    );
    expect(items).toEqual([["gzip-trailing-garbage"], []]);
  });
});

describe("equal reports", () => {
  it("have equal hashes in whatever container they come", () => {
    const hashes = [
      readFile(XML),
      readFile(gz(XML)),
      readFile(zip([{ name: "x", content: XML }])),
      read(mail([{ type: "text/xml", body: XML.replaceAll("><", ">\r\n  <") }])),
    ].flatMap((found) => found.hashes);
    expect(new Set(hashes).size).toBe(1);
    expect(hashes).toHaveLength(4);
  });
});

describe("a mail with more reports than allowed", () => {
  const xmls = (from: number, count: number) =>
    Array.from({ length: count }, (_, n) => ({ name: `${from + n}.xml`, content: dmarcXml(`r${from + n}`) }));
  const ids = (count: number) => Array.from({ length: count }, (_, n) => `r${n}`);
  const tarPart = (from: number, count: number, broken = false) => ({
    type: "application/gzip",
    name: "r.tar.gz",
    encoding: "base64",
    body: gz(
      tar(
        broken ? xmls(from, count).map(({ name }) => ({ name, content: "<feedback>" })) : xmls(from, count),
      ),
    ),
  });
  const full = { ok: false, kind: null, reason: "too-many-reports" };
  const detail = (limit: number) => `over ${limit}; the rest of the mail is not parsed`;

  it("took seconds to store: the first ones are parsed, and one refused item stands for the rest", () => {
    const found = read(mail(Array.from({ length: 12 }, (_, n) => tarPart(n * 99, 99))));
    expect(found.ids).toEqual(ids(1000));
    expect(found.hashes).toHaveLength(1000);
    expect(found.reading.items).toHaveLength(1001);
    expect(found.reading.items.at(-1)).toMatchObject({
      ...full,
      detail: detail(1000),
      part: { name: "1000.xml" },
    });
    expect([found.outcome, found.reason]).toEqual(["partial", "too-many-reports"]);
  });

  it.each([
    ["XML parts", mail(xmls(0, 9).map(({ name, content }) => ({ type: "text/xml", name, body: content })))],
    [
      "a zip archive",
      single({ type: "application/zip", name: "r.zip", encoding: "base64", body: zip(xmls(0, 9)) }),
    ],
    [
      "mails inside each other",
      mail([tarPart(0, 2), { type: "message/rfc822", body: mail([tarPart(2, 9)]) }]),
    ],
    [
      "nested containers",
      mail([
        {
          type: "application/zip",
          name: "r.zip",
          encoding: "base64",
          body: zip([{ name: "r.tar.gz", content: tarPart(0, 5).body }]),
        },
      ]),
    ],
  ])("in %s", (_, raw) => {
    const found = read(raw, {}, { reports: 3 });
    expect(found.ids).toEqual(ids(3));
    expect(found.refused).toEqual(["too-many-reports"]);
  });

  it("TLS, abuse and delivery status reports count as well", () => {
    const feedback = {
      type: "message/feedback-report",
      body: "Feedback-Type: abuse\r\nUser-Agent: x/1\r\nVersion: 1\r\n\r\n",
    };
    const tls = { type: "application/tlsrpt+json", name: "t.json", body: tlsJson() };
    const found = read(mail([tls, { type: "text/xml", body: XML }, tls]), {}, { reports: 2 });
    expect([found.ids, found.refused]).toEqual([["t1", "r1"], ["too-many-reports"]]);
    const two = read(mail([feedback, feedback]), {}, { reports: 1 });
    expect([two.ids.length, two.refused]).toEqual([1, ["too-many-reports"]]);
  });

  it("parts that should have been reports count as well", () => {
    const found = read(mail([tarPart(0, 50, true)]), {}, { reports: 20 });
    expect(found.refused).toHaveLength(21);
    expect(found.refused.at(-1)).toBe("too-many-reports");
    expect(found.outcome).toBe("invalid");
  });

  it("is one with as many as allowed: all of them are parsed, and what is no report is not refused", () => {
    const found = read(
      mail([tarPart(0, 5), { type: "text/plain", body: "five reports" }]),
      {},
      { reports: 5 },
    );
    expect([found.ids, found.refused]).toEqual([ids(5), []]);
  });
});

describe("the deadline", () => {
  it("refuses what comes after it", () => {
    const found = read(mail([{ type: "text/xml", body: XML }]), {}, { read_timeout: -1 });
    expect(found.ids).toEqual([]);
    expect([found.outcome, found.reason]).toEqual(["invalid", "timeout"]);
  });
});

describe("headers of the report mail", () => {
  it("are decoded, counted and those of the outermost mail", () => {
    const head =
      "Received: a\r\nReceived: b\r\nFrom: =?utf-8?q?J=C3=B6rg?= <j@x.example>\r\nSubject: s\r\nMessage-ID: <1@x>\r\nDate: Thu, 16 Nov 2023 01:00:00 +0100\r\nTLS-Report-Domain: example.com\r\nTLS-Report-Submitter: x.example\r\n";
    expect(read(mail([{ body: "x" }], { head })).reading.headers).toEqual({
      from: "Jörg <j@x.example>",
      subject: "s",
      messageId: "<1@x>",
      date: 1_700_092_800,
      autoSubmitted: null,
      tlsReportDomain: "example.com",
      tlsReportSubmitter: "x.example",
      hops: 2,
    });
    expect(NOW).toBeGreaterThan(1_700_092_800);
  });
});
