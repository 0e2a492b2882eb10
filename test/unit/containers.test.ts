/** gzip, zip, zlib and tar: what is opened, what is repaired and what is refused (rules 1, 10 to 13). */
import { brotliCompressSync, deflateSync, gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { Budget } from "../../src/format/container/budget.ts";
import { zipEntries } from "../../src/format/container/zip.ts";
import type { Reason, Warning } from "../../src/model/outcome.ts";
import { WarningList } from "../../src/model/outcome.ts";
import { dmarcXml, gz, LIMITS, readFile, tar, tlsJson, zip } from "../support/reading.ts";

const XML = dmarcXml();

/** Read: the ids found, and the warnings that stand with them. */
const good = (what: string, raw: Uint8Array, ids: readonly string[], warnings: readonly Warning[] = []) =>
  it(what, () => {
    const found = readFile(raw, "file");
    expect(found.ids).toEqual(ids);
    expect(found.warnings).toEqual(warnings);
  });

/** Refused, with a reason. */
const bad = (what: string, raw: Uint8Array, reason: Reason, name = "report.xml.gz") =>
  it(what, () => {
    const found = readFile(raw, name);
    expect(found.ids).toEqual([]);
    expect(found.reason).toBe(reason);
  });

function damaged(raw: Buffer, at: number): Buffer {
  const copy = Buffer.from(raw);
  const place = at < 0 ? copy.length + at : at;
  copy[place] = copy[place]! ^ 0xff;
  return copy;
}

describe("gzip", () => {
  const big = dmarcXml("big").replace(
    "</feedback>",
    `${noise(300_000).replace(/.{1000}/g, "<!--$&-->")}</feedback>`,
  );
  const two = XML.replace(
    "</feedback>",
    `${XML.slice(XML.indexOf("<record>"), XML.indexOf("</feedback>"))}</feedback>`,
  );
  good("is opened", gz(XML), ["r1"]);
  good("over a slice is opened", gz(big), ["big"]);
  good("with a file name and comment in its header is opened", named(gz(XML)), ["r1"]);
  good(
    "of two members is joined",
    Buffer.concat([gz(XML.slice(0, 200)), gz(XML.slice(200))]),
    ["r1"],
    ["gzip-members"],
  );
  good(
    "with garbage behind it is noted",
    Buffer.concat([gz(XML), Buffer.from("garbage")]),
    ["r1"],
    ["gzip-trailing-garbage"],
  );
  good(
    "with a line break or NULs behind it is not",
    Buffer.concat([gz(XML), Buffer.from("\r\n\0\0\0\0\0\0")]),
    ["r1"],
  );
  good("with a wrong checksum is read", damaged(gz(XML), -6), ["r1"], ["gzip-bad-checksum"]);
  good("with a wrong length is read", damaged(gz(XML), -1), ["r1"], ["gzip-bad-checksum"]);
  good(
    "of a TLS report with a wrong checksum is read",
    damaged(gz(tlsJson()), -6),
    ["t1"],
    ["gzip-bad-checksum"],
  );
  good("in gzip is opened", gz(gz(XML)), ["r1"], ["gzip-nested"]);
  good(
    "cut behind the end of the report is read",
    gz(`${XML}${" ".repeat(100)}${noise(9000)}`).subarray(0, 3000),
    ["r1"],
    ["trailing-text", "gzip-bad-checksum"],
  );
  it("cut in the second record keeps the first", () => {
    const found = readFile(gz(two.replace("</feedback>", noise(9000))).subarray(0, 3000));
    expect(found.records.length).toBeGreaterThan(0);
    expect(found.warnings).toContain("container-truncated");
  });
  bad("cut before the first record is truncated", gz(XML).subarray(0, 100), "truncated");
  bad("of a TLS report, cut, is truncated", gz(tlsJson()).subarray(0, 100), "truncated");
  bad("with nothing in it is empty", gz(""), "empty");
  bad("four deep is too deep", gz(gz(gz(gz(XML)))), "too-deep");
  bad("of a picture is no XML", gz(Buffer.from("\x89PNG\r\n\x1a\n\0\0\0", "latin1")), "not-xml");
  bad("of the word unused is a placeholder", gz("unused"), "placeholder");
  bad(
    "with too many members",
    Buffer.concat([gz(XML), ...Array.from({ length: 3000 }, () => gz(" "))]),
    "too-many-entries",
  );
  bad("that only begins like one is truncated", Buffer.from([0x1f, 0x8b, 8, 0]), "truncated");
});

describe("other streams", () => {
  good("zlib is opened", deflateSync(XML), ["r1"]);
  good("zlib at the best level is opened", deflateSync(XML, { level: 9 }), ["r1"]);
  bad("xz is refused by its method", Buffer.from("\xfd7zXZ\0\0\0", "latin1"), "unsupported-method");
  bad("brotli, which has no mark, is no XML", brotliCompressSync(XML), "not-xml");
});

describe("zip", () => {
  const entry = { name: "r.xml", content: XML };
  good("is opened", zip([entry]), ["r1"]);
  good("stored is opened", zip([{ ...entry, method: 0 }]), ["r1"]);
  good("with two reports gives both", zip([entry, { name: "s.xml", content: dmarcXml("r2") }]), ["r1", "r2"]);
  good("with a report of each kind gives both", zip([entry, { name: "s.json", content: tlsJson() }]), [
    "r1",
    "t1",
  ]);
  good("in zip is opened", zip([{ name: "in.zip", content: zip([entry]) }]), ["r1"]);
  good("holding gzip is opened", zip([{ name: "r.xml.gz", content: gz(XML) }]), ["r1"], ["gzip-nested"]);
  good(
    "with directories, resource forks and dot files gives the report",
    zip([
      { name: "d/", content: "", method: 0 },
      { name: "__MACOSX/._r.xml", content: "junk" },
      { name: ".DS_Store", content: "junk" },
      { ...entry, name: "d/r.xml" },
    ]),
    ["r1"],
  );
  good("with a path that leads out gives the report", zip([{ ...entry, name: "../../etc/r.xml" }]), ["r1"]);
  good("with a comment is opened", zip([entry], { comment: Buffer.from("a comment") }), ["r1"]);
  good("with the image of another end in its comment is opened", zip([entry], { comment: zip([]) }), ["r1"]);
  good("with a wrong checksum is read", zip([{ ...entry, crc: 1 }]), ["r1"], ["gzip-bad-checksum"]);
  bad("without entries is an empty archive", zip([]), "empty-archive");
  bad("encrypted is refused", zip([{ ...entry, flags: 1 }]), "encrypted");
  bad("by bzip2 is refused", zip([{ ...entry, method: 12 }]), "unsupported-method");
  bad("that declares 4 GiB is refused by that", zip([{ ...entry, declared: 0xffffffff }]), "too-large");
  bad("that is cut is truncated", zip([entry]).subarray(0, 150), "truncated");
  bad("with an entry beyond its end is truncated", zip([{ ...entry, offset: 1_000_000 }]), "truncated");
  bad("of text is no report", zip([{ name: "readme.txt", content: "hello" }]), "no-report", "x.zip");
  bad(
    "of 101 entries has too many",
    zip(Array.from({ length: 101 }, (_, i) => ({ name: `${i}.txt`, content: "" }))),
    "too-many-entries",
  );
  it("whose entries overlap gives the first and refuses the second", () => {
    const found = readFile(zip([entry, { name: "s.xml", content: dmarcXml("r2"), offset: 0 }]));
    expect(found.ids).toEqual(["r1"]);
    expect(found.refused).toEqual(["too-large"]);
  });
  it("with one bad entry gives the others, and is partial", () => {
    const found = readFile(
      zip([{ name: "a.xml", content: "no xml" }, entry, { ...entry, name: "e.xml", flags: 1 }]),
    );
    expect(found.ids).toEqual(["r1"]);
    expect(found.refused).toEqual(["not-xml", "encrypted"]);
    expect(found.outcome).toBe("partial");
  });
  it("that is an office document is no report, whatever XML is in it", () => {
    const found = readFile(
      zip([
        { name: "[Content_Types].xml", content: "<Types/>" },
        { name: "word/document.xml", content: "<document/>" },
      ]),
      "letter.docx",
    );
    expect(found.outcome).toBe("not-a-report");
  });
  it("with bytes in front has its entries where they then are", () => {
    const raw = zip([entry], { prefix: Buffer.from("#!self-extracting\n") });
    const [found] = zipEntries(raw, LIMITS, new Budget(LIMITS), new WarningList());
    expect(Buffer.concat([...found!.source.open()]).toString()).toBe(XML);
  });
  it("keeps names as labels", () => {
    const found = readFile(zip([{ ...entry, name: "../r.xml" }]));
    expect(found.reading.items[0]!.part.name).toBe("../r.xml");
  });
});

describe("tar", () => {
  const entry = { name: "r.xml", content: XML };
  good("is opened", tar([entry]), ["r1"]);
  good(
    "in gzip is opened, and all its reports read",
    gz(tar([entry, { name: "s.xml", content: dmarcXml("r2") }])),
    ["r1", "r2"],
  );
  good(
    "with directories and links gives the report",
    tar([{ name: "d/", content: "", type: "5" }, entry, { name: "l", content: "", type: "2" }]),
    ["r1"],
  );
  bad("without entries is an empty archive", tar([{ name: "d/", content: "", type: "5" }]), "empty-archive");
  bad("of text is no report", tar([{ name: "readme", content: "hello" }]), "no-report", "x.tar");
  bad(
    "of 101 entries has too many",
    tar(Array.from({ length: 101 }, (_, i) => ({ name: `${i}`, content: "" }))),
    "too-many-entries",
  );
  it("takes long names of GNU and pax archives", () => {
    const long = `${"d/".repeat(60)}r.xml`;
    const gnu = readFile(tar([{ name: "././@LongLink", content: `${long}\0`, type: "L" }, entry]));
    expect(gnu.reading.items[0]!.part.name).toBe(long);
    const pax = readFile(
      tar([{ name: "x", content: `${long.length + 10} path=${long}\n`, type: "x" }, entry]),
    );
    expect(pax.reading.items[0]!.part.name).toBe(long);
  });
  it("that is cut keeps the reports before the cut", () => {
    const found = readFile(tar([entry, { name: "s.xml", content: dmarcXml("r2") }]).subarray(0, 2048 + 600));
    expect(found.ids).toEqual(["r1"]);
    expect(found.refused).toEqual(["truncated"]);
  });
});

function named(raw: Buffer): Buffer {
  const head = Buffer.from(raw.subarray(0, 10));
  head[3] = 0x08 | 0x10;
  return Buffer.concat([head, Buffer.from("name.xml\0comment\0"), raw.subarray(10)]);
}

/** Text that does not compress well, always the same. */
function noise(length: number): string {
  let text = "";
  for (let i = 0; text.length < length; i++) text += ((i * 2654435761) >>> 0).toString(36);
  return gzipSync(text).toString("base64").slice(0, length);
}
