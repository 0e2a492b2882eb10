/** Hostile mails and files, each with the reason of its refusal. They are generated, never stored. Plain JavaScript. */
import { crc32, deflateRawSync, gzipSync } from "node:zlib";

const MIB = 1 << 20;

/** A gzip file that begins like a report and then has `size` blanks. */
function bomb(size) {
  return gzipSync(Buffer.concat([Buffer.from("<feedback>"), Buffer.alloc(size, 0x20)]), { level: 9 });
}

/** A zip archive whose offsets and sizes may be wrong. */
function zipOf(entries, packed) {
  const directory = entries.map(({ name, offset, declared }) => {
    const head = Buffer.alloc(46);
    head.write("PK\x01\x02", 0, "latin1");
    head.writeUInt16LE(8, 10);
    head.writeUInt32LE(crc32(""), 16);
    head.writeUInt32LE(packed.length, 20);
    head.writeUInt32LE(declared, 24);
    head.writeUInt16LE(name.length, 28);
    head.writeUInt32LE(offset, 42);
    return Buffer.concat([head, Buffer.from(name)]);
  });
  const local = Buffer.alloc(30);
  local.write("PK\x03\x04", 0, "latin1");
  local.writeUInt16LE(8, 8);
  const listed = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write("PK\x05\x06", 0, "latin1");
  end.writeUInt16LE(entries.length & 0xffff, 8);
  end.writeUInt16LE(entries.length & 0xffff, 10);
  end.writeUInt32LE(listed.length, 12);
  end.writeUInt32LE(30 + packed.length, 16);
  return Buffer.concat([local, packed, listed, end]);
}

function nestedMessages(depth) {
  const head = "From: a@b.example\r\nSubject: Fwd\r\nContent-Type: message/rfc822\r\n\r\n";
  return Buffer.from(`${head.repeat(depth)}Subject: end\r\n\r\nend\r\n`);
}

function nestedMultiparts(depth) {
  let text = "From: a@b.example\r\n";
  for (let i = 0; i < depth; i++) text += `Content-Type: multipart/mixed; boundary=b${i}\r\n\r\n--b${i}\r\n`;
  return Buffer.from(`${text}\r\ntext\r\n`);
}

function manyParts(count) {
  return Buffer.from(
    `From: a@b.example\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n${"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n".repeat(count)}--b--\r\n`,
  );
}

/** Twenty multiparts inside each other over one body of lines that are nearly boundaries. */
function nearBoundaries(size) {
  let text = "From: a@b.example\r\n";
  for (let i = 0; i < 20; i++) text += `Content-Type: multipart/mixed; boundary=b${i}\r\n\r\n--b${i}\r\n`;
  return Buffer.concat([Buffer.from(`${text}\r\n`), Buffer.alloc(size, "--b1x\n")]);
}

function manyMembers(count) {
  return Buffer.concat([gzipSync("<feedback>"), ...new Array(count).fill(gzipSync(""))]);
}

function gzipLayers(depth) {
  let raw = Buffer.from("<feedback/>");
  for (let i = 0; i < depth; i++) raw = gzipSync(raw);
  return raw;
}

const xml = (inner) => Buffer.from(`<?xml version="1.0"?><feedback>${inner}</feedback>`);
const numbered = (count, of) => Array.from({ length: count }, (_, i) => of(i));

/**
 * All of them. `form` is how they come; `reasons` those that are right (an empty reading has the first one).
 * @returns {{name: string, form: "mail" | "file", fileName: string, reasons: string[], make: () => Buffer}[]}
 */
export function hostileInputs() {
  const file = (name, fileName, reasons, make) => ({ name, form: "file", fileName, reasons, make });
  const mail = (name, reasons, make) => ({ name, form: "mail", fileName: null, reasons, make });
  const packed = deflateRawSync(Buffer.alloc(MIB));
  return [
    file("a bomb of 200 MiB in 200 KB", "r.xml.gz", ["too-large"], () => bomb(200 * MIB)),
    file("a bomb in a bomb", "r.xml.gz", ["too-large"], () => gzipSync(bomb(200 * MIB), { level: 9 })),
    file("a bomb of XML", "r.xml.gz", ["bad-xml"], () =>
      gzipSync(Buffer.concat([Buffer.from("<feedback>"), Buffer.alloc(100 * MIB, "<x/>")])),
    ),
    file("200,000 gzip members", "r.xml.gz", ["too-many-entries"], () => manyMembers(200_000)),
    file("gzip ten times", "r.xml.gz", ["too-deep"], () => gzipLayers(10)),
    file("65,535 zip entries", "r.zip", ["too-many-entries"], () =>
      zipOf(
        numbered(65_535, (i) => ({ name: `${i}.xml`, offset: 0, declared: 10 })),
        packed,
      ),
    ),
    file("a zip of 100 entries over the same bytes", "r.zip", ["not-xml", "too-large", "truncated"], () =>
      zipOf(
        numbered(100, (i) => ({ name: `${i}.xml`, offset: 0, declared: 10 })),
        packed,
      ),
    ),
    file("a zip of 64,000 ends", "r.zip", ["truncated"], () =>
      Buffer.concat([Buffer.from("PK\x03\x04"), Buffer.alloc(16_384 * 4, "PK\x05\x06")]),
    ),
    file("a zip whose directory points at itself", "r.zip", ["truncated"], () =>
      zipOf(
        numbered(50, (i) => ({ name: `${i}.xml`, offset: 0xfffffff0, declared: 10 })),
        packed,
      ),
    ),
    file("a tar that declares 8 GiB", "r.tar", ["too-large", "truncated"], () => {
      const header = Buffer.alloc(512);
      header.write("big.xml", 0);
      header.write("77777777777 ", 124);
      header.write("0", 156);
      header.write("ustar\x0000", 257);
      return Buffer.concat([header, Buffer.alloc(4096)]);
    }),
    file("a billion laughs", "r.xml", ["doctype"], () =>
      Buffer.from(
        '<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "&b;&b;"><!ENTITY b "ha">]><feedback>&a;</feedback>',
      ),
    ),
    file("a million open elements", "r.xml", ["too-deep"], () => xml("<a>".repeat(1_000_000))),
    file("a tag of 20 MiB", "r.xml", ["bad-xml", "missing-metadata", "truncated", "not-feedback"], () =>
      xml(`<a ${"b".repeat(20 * MIB)}`),
    ),
    file("a million attributes", "r.xml", ["bad-xml", "too-deep", "missing-metadata"], () =>
      xml(`<a ${numbered(1_000_000, (i) => `a${i}="1"`).join(" ")}/>`),
    ),
    file("JSON a million deep", "r.json", ["too-deep", "bad-json"], () =>
      Buffer.from(`{"policies":${"[".repeat(1_000_000)}`),
    ),
    mail("10,000 parts", ["too-many-parts"], () => manyParts(10_000)),
    mail("1,000 nested messages", ["too-deep"], () => nestedMessages(1000)),
    mail("1,000 nested multiparts", ["too-deep"], () => nestedMultiparts(1000)),
    mail("a header of 64 MiB", ["too-large"], () =>
      Buffer.concat([Buffer.from("From: a@b.example\r\nX: "), Buffer.alloc(64 * MIB, "x")]),
    ),
    mail("a header of 64 MiB in lines", ["too-large"], () => Buffer.alloc(64 * MIB, "X: y\r\n")),
    mail("25 MiB of lines that are nearly boundaries", ["too-many-parts"], () => nearBoundaries(25 * MIB)),
    mail("25 MiB of dashes", ["no-report"], () =>
      Buffer.concat([
        Buffer.from("Content-Type: multipart/mixed; boundary=-\r\n\r\n"),
        Buffer.alloc(25 * MIB, "-"),
      ]),
    ),
    mail("a Subject of 10,000 encoded words", ["no-report"], () =>
      Buffer.from(`Subject: ${"=?utf-8?q?a?= ".repeat(10_000)}\r\n\r\nx`),
    ),
    mail("a Content-Type of 100,000 parameters", ["no-report"], () =>
      Buffer.from(`Content-Type: text/plain${"; a=b".repeat(40_000)}\r\n\r\nx`),
    ),
    mail("a name in 10,000 pieces", ["no-report"], () =>
      Buffer.from(
        `Content-Type: text/plain\r\nContent-Disposition: attachment${numbered(9000, (i) => `; filename*${i}*=%61`).join("")}\r\n\r\nx`,
      ),
    ),
    mail("25 MiB of base64 that is none", ["no-report"], () =>
      Buffer.concat([
        Buffer.from("Content-Transfer-Encoding: base64\r\n\r\n"),
        Buffer.alloc(25 * MIB, "=A=\n"),
      ]),
    ),
    mail("25 MiB of escapes", ["no-report"], () =>
      Buffer.concat([
        Buffer.from("Content-Type: text/html\r\n\r\n<html>"),
        Buffer.alloc(15 * MIB, "&lt;feedback&gt;<"),
      ]),
    ),
    mail("a bounce of 25 MiB without a space", ["bad-dsn"], () =>
      Buffer.concat([
        Buffer.from(
          "From: mailer-daemon@b.example\r\nSubject: Undelivered mail\r\nContent-Type: image/png\r\n\r\n",
        ),
        Buffer.alloc(25 * MIB, "a.a-"),
      ]),
    ),
    mail("a feedback report of 25 MiB", ["too-large", "bad-feedback"], () =>
      Buffer.concat([
        Buffer.from("Content-Type: message/feedback-report\r\n\r\n"),
        Buffer.alloc(25 * MIB, "Feedback-Type: a\r\n"),
      ]),
    ),
  ];
}
