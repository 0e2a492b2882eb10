/** Headers, parameters, encoded words, transfer encodings and the structure of mails. */
import { describe, expect, it } from "vitest";
import { mailDate } from "../../src/format/mail/headers.ts";
import { decodeBody, encodingOf } from "../../src/format/mail/mime/body.ts";
import { decodeWords, readHeaderBlock, readParameters } from "../../src/format/mail/mime/headers.ts";
import { bodyOf, type Part, readParts } from "../../src/format/mail/mime/parts.ts";
import { WarningList } from "../../src/model/outcome.ts";
import { LIMITS, mail, part } from "../support/reading.ts";

const bytes = (text: string): Buffer => Buffer.from(text, "latin1");

describe("a header block", () => {
  const block = (text: string) => readHeaderBlock(bytes(text), 0, text.length, LIMITS);
  const good = (what: string, text: string, wanted: readonly string[], body: string) =>
    it(what, () => {
      const { fields, bodyStart } = block(text);
      expect(fields.map((f) => `${f.name}=${f.value}`)).toEqual(wanted);
      expect(text.slice(bodyStart)).toBe(body);
    });

  good("ends at the empty line", "A: 1\r\nB: 2\r\n\r\nbody", ["a=1", "b=2"], "body");
  good("takes bare line feeds", "A: 1\nB: 2\n\nbody", ["a=1", "b=2"], "body");
  good("unfolds values", "A: 1\r\n 2\r\n\t3\r\n\r\n", ["a=1 2 3"], "");
  good("passes over an mbox line", "From x@y Thu Nov 16\nA: 1\n\nb", ["a=1"], "b");
  good("passes over a quoted mbox line", "A: 1\n>From x@y Thu\nB: 2\n\nb", ["a=1", "b=2"], "b");
  good("takes a blank before the colon", "A : 1\n\n", ["a=1"], "");
  good("ends where a line is no field", "A: 1\nno field\nB: 2\n", ["a=1"], "no field\nB: 2\n");
  good("may be missing", "\r\nbody", [], "body");
  good("may be all there is", "A: 1", ["a=1"], "");

  it("is refused over its size", () => {
    expect(() => block(`A: ${"x".repeat(LIMITS.header_size)}\n\n`)).toThrow("too-large");
  });
  it("is refused over its fields", () => {
    expect(() => block("A: 1\n".repeat(LIMITS.header_fields + 1))).toThrow("too-large");
  });
});

describe("encoded words (RFC 2047)", () => {
  const good = (value: string, wanted: string) =>
    it(`${value} is ${wanted}`, () => expect(decodeWords(value)).toBe(wanted));
  good("plain", "plain");
  good("=?utf-8?B?w6k=?=", "é");
  good("=?iso-8859-1?q?caf=E9_au_lait?=", "café au lait");
  good("=?utf-8?q?a?= =?utf-8?q?b?=", "ab");
  good("a =?utf-8?q?b?= c", "a b c");
  good("=?utf-8?q?=C3?= =?utf-8?q?=A9?=", "é");
  good("=?utf-8*en?q?x?=", "x");
  good("=?nobody-knows?q?x=C3=A9?=", "xé");
  good("=?utf-8?q?open", "=?utf-8?q?open");
  good("\xc3\xa9", "é");
});

describe("parameters (RFC 2045, RFC 2231)", () => {
  const good = (text: string, name: string, wanted: string) =>
    it(`${name} of ${text} is ${wanted}`, () =>
      expect(readParameters(text).parameters.get(name)).toBe(wanted));
  good('text/plain; name="a b.xml"', "name", "a b.xml");
  good("text/plain; NAME=a.xml", "name", "a.xml");
  good("text/plain; name=a b.xml; x=1", "name", "a b.xml");
  good('text/plain; name="a\\"b"', "name", 'a"b');
  good('a; filename*0="one!"; filename*1="two.xml"', "filename", "one!two.xml");
  good('a; filename*1="two.xml"; filename*0="one!"', "filename", "one!two.xml");
  good("a; filename*=utf-8''%C3%A9.xml", "filename", "é.xml");
  good("a; filename*=iso-8859-1'en'%E9.xml", "filename", "é.xml");
  good("a; filename*0*=utf-8''%C3; filename*1*=%A9.xml", "filename", "é.xml");
  good("a; filename*0*=utf-8''%C3%A9; filename*1=\"%41.xml\"", "filename", "é%41.xml");
  good("a; filename=\"old.xml\"; filename*=utf-8''new.xml", "filename", "new.xml");
  good('a; filename="=?utf-8?q?=C3=A9.xml?="', "filename", "é.xml");
  good('a; filename="\xc3\xa9.xml"', "filename", "é.xml");
  good("a; flag; name=x", "name", "x");
  it("keys of prototypes are data", () => {
    expect(readParameters("a; __proto__=1; constructor=2").parameters.get("__proto__")).toBe("1");
  });
});

describe("dates of mails are UTC", () => {
  const good = (text: string, iso: string) =>
    it(text, () => expect(mailDate(text)).toBe(Date.parse(iso) / 1000));
  const bad = (text: string) => it(`${text} is none`, () => expect(mailDate(text)).toBeNull());
  good("Thu, 16 Nov 2023 09:59:00 +0000", "2023-11-16T09:59:00Z");
  good("Thu, 16 Nov 2023 09:59:00 -0530 (comment)", "2023-11-16T15:29:00Z");
  good("16 Nov 23 09:59 GMT", "2023-11-16T09:59:00Z");
  good("Tue, 8 Mar 2005 14:00:00 EDT", "2005-03-08T18:00:00Z");
  good("Thu, 16 Nov 2023 09:59:00 JST", "2023-11-16T09:59:00Z");
  good("Thu, 16 Nov 2023 09:59:00", "2023-11-16T09:59:00Z");
  good("Thu Nov 16 09:59:00 2023", "2023-11-16T09:59:00Z");
  good("2023-11-16T09:59:00+01:00", "2023-11-16T08:59:00Z");
  bad("soon 5");
  bad("Thu, 32 Nov 2023 09:59:00 +0000");
  bad("Thu, 16 Foo 2023 09:59:00 +0000");
  bad("");
});

describe("transfer encodings", () => {
  const decoded = (text: string, label: string): string => {
    const raw = bytes(text);
    return Buffer.concat([
      ...decodeBody(raw, 0, raw.length, encodingOf(raw, 0, raw.length, label)),
    ]).toString();
  };
  const good = (what: string, text: string, label: string, wanted: string) =>
    it(what, () => expect(decoded(text, label)).toBe(wanted));
  good("base64", "aGVsbG8gd29ybGQ=", "base64", "hello world");
  good("base64 with blanks and line breaks", "aGVs bG8g\r\n d29y\tbGQ=\r\n", "base64", "hello world");
  good("base64 without padding", "aGVsbG8gd29ybGQ", "base64", "hello world");
  good("base64 of two runs, each padded", "aGVsbG8=\r\nIHdvcmxk\r\n", "base64", "hello world");
  good("base64 with a stray character", "aGVsbG8gd29ybG!Q=", "base64", "hello world");
  good("quoted-printable", "h=65llo=20w=\r\norld", "quoted-printable", "hello world");
  good("quoted-printable with blanks before the soft break", "hel=  \r\nlo", "quoted-printable", "hello");
  good("quoted-printable that is not", "a=b=zz=", "quoted-printable", "a=b=zz=");
  good("8bit", "h\u00e9", "8bit", bytes("h\u00e9").toString());
  good("an unknown one", "text", "x-unknown", "text");
  good("plain text labelled base64", "<feedback>a: b</feedback>", "base64", "<feedback>a: b</feedback>");
  good(
    "a coded report without a label",
    Buffer.from("<?xml version='1.0'?><feedback/>").toString("base64"),
    "7bit",
    "<?xml version='1.0'?><feedback/>",
  );

  it("base64 over many slices stays whole", () => {
    const content = Buffer.alloc(200_001, "0123456789");
    const text = content.toString("base64").replace(/.{75}/g, "$&\n");
    expect(decoded(text, "base64")).toBe(content.toString());
  });
});

/** Media types of a tree, as text. */
function shape(part: Part): string {
  const inner = part.children.map(shape).join(" ");
  return inner === "" ? part.mediaType || "-" : `${part.mediaType}(${inner})`;
}

describe("the parts of a mail", () => {
  const tree = (raw: Buffer, limits = {}) => {
    const warnings = new WarningList();
    const { root, stopped } = readParts(raw, { ...LIMITS, ...limits }, warnings);
    const texts: string[] = [];
    const visit = (p: Part): void => {
      if (p.children.length === 0) texts.push(Buffer.concat([...bodyOf(raw, p)]).toString());
      for (const child of p.children) visit(child);
    };
    visit(root);
    return {
      shape: shape(root),
      texts,
      stopped: stopped?.reason ?? null,
      warnings: warnings.list().map((w) => w.code),
    };
  };
  const text = (body: string) => ({ type: "text/plain", body });

  it("are found with exact bodies", () => {
    const found = tree(mail([text("one"), text("two\r\n"), text("")]));
    expect(found.shape).toBe("multipart/mixed(text/plain text/plain text/plain)");
    expect(found.texts).toEqual(["one", "two\r\n", ""]);
    expect(found.warnings).toEqual([]);
  });
  it("are found inside each other", () => {
    const inner = part({ type: "multipart/alternative; boundary=in", body: "--in\r\n\r\na\r\n--in--\r\n" });
    expect(tree(mail([inner, text("b")])).shape).toBe("multipart/mixed(multipart/alternative(-) text/plain)");
  });
  it("end where an outer boundary comes", () => {
    const inner = part({ type: "multipart/alternative; boundary=in", body: "--in\r\n\r\na" });
    const found = tree(mail([inner, text("b")]));
    expect(found.texts).toEqual(["a", "b"]);
    expect(found.warnings).toEqual(["mime-repaired"]);
  });
  it("may have the same boundary as what is around them", () => {
    const inner = part({
      type: "multipart/alternative; boundary==_b",
      body: "--=_b\r\n\r\na\r\n--=_b--\r\n",
    });
    expect(tree(mail([inner, text("b")])).texts).toContain("a");
  });
  it("survive a missing closing boundary", () => {
    const found = tree(mail([text("a"), text("b")], { close: false }));
    expect(found.texts).toEqual(["a", "b\r\n"]);
    expect(found.warnings).toEqual(["mime-repaired"]);
  });
  it("survive a boundary that is not the declared one", () => {
    const raw = Buffer.from(
      mail([text("a"), text("b")])
        .toString()
        .replace('boundary="=_b"', 'boundary="other"')
        .replaceAll("--=_b", "--really-this"),
    );
    const found = tree(raw);
    expect(found.texts).toEqual(["a", "b"]);
    expect(found.warnings).toContain("mime-repaired");
  });
  it("are not divided by a boundary in the middle of a line, or by one that goes on", () => {
    expect(tree(mail([text("x --=_b\r\n--=_bc\r\n--=_b x")])).texts).toEqual([
      "x --=_b\r\n--=_bc\r\n--=_b x",
    ]);
  });
  it("are divided by a boundary with blanks behind it", () => {
    const raw = Buffer.from(
      mail([text("a"), text("b")])
        .toString()
        .replaceAll("--=_b\r\n", "--=_b \t\r\n"),
    );
    expect(tree(raw).texts).toEqual(["a", "b"]);
  });
  it("may have a header that runs into the boundary", () => {
    const raw = mail([bytes("Content-Type: text/plain"), text("b")]);
    expect(tree(raw).shape).toBe("multipart/mixed(text/plain text/plain)");
  });
  it("with a header beyond its limits are skipped, those behind are not", () => {
    const found = tree(mail([part({ header: `X: ${"x".repeat(5000)}`, body: "" }), text("b")]), {
      header_size: 4096,
    });
    expect(found.texts).toEqual(["b"]);
    expect(found.stopped).toBe("too-large");
  });
  it("stop at the limit, those before it are kept", () => {
    const found = tree(mail([text("a"), text("b"), text("c")]), { mime_parts: 2 });
    expect(found.texts).toEqual(["a", "b"]);
    expect(found.stopped).toBe("too-many-parts");
  });
  it("of an epilogue are none", () => {
    expect(tree(Buffer.concat([mail([text("a")]), bytes("--=_b\r\n\r\nno part\r\n")])).texts).toEqual(["a"]);
  });
});
