/** The MIME walker beside postal-mime: the same attachments out of the same mails; and no damage that it cannot take. */
import fc from "fast-check";
import PostalMime from "postal-mime";
import { describe, expect, it } from "vitest";
import { bodyOf, type Part, readParts } from "../../src/format/mail/mime/parts.ts";
import { WarningList } from "../../src/model/outcome.ts";
import { LIMITS, read } from "../support/reading.ts";

const SEED = 20_231_116;

type Leaf = {
  readonly kind: "leaf";
  readonly name: string;
  readonly encoding: string;
  readonly body: Uint8Array;
};
type Tree = Leaf | { readonly kind: "multi"; readonly boundary: string; readonly children: readonly Tree[] };

const encodings = fc.constantFrom("base64", "quoted-printable", "8bit");
const boundary = fc.stringMatching(/^[A-Za-z0-9'+_./:=?-]{1,30}[A-Za-z0-9]$/);
const fileName = fc.stringMatching(/^[A-Za-z0-9!._-]{1,40}$/);
const content = fc.oneof(
  fc.stringMatching(/^[ -~]{0,60}(?:\n[ -~]{0,60}){0,4}$/).map((text) => Buffer.from(text)),
  fc.uint8Array({ maxLength: 300 }),
);
const leaf = fc.record({
  kind: fc.constant("leaf" as const),
  name: fileName,
  encoding: encodings,
  body: content,
});

const { tree } = fc.letrec<{ tree: Tree; multi: Tree }>((tie) => ({
  tree: fc.oneof({ depthSize: "small", maxDepth: 4 }, leaf, tie("multi")),
  multi: fc.record({
    kind: fc.constant("multi" as const),
    boundary,
    children: fc.array(tie("tree"), { minLength: 1, maxLength: 4 }),
  }),
}));
const mails = fc.record({
  boundary,
  children: fc.array(tree, { minLength: 1, maxLength: 4 }),
  crlf: fc.boolean(),
});

function quotedPrintable(body: Uint8Array): string {
  const coded = [...body].map((byte) =>
    byte >= 0x21 && byte <= 0x7e && byte !== 0x3d
      ? String.fromCharCode(byte)
      : `=${byte.toString(16).toUpperCase().padStart(2, "0")}`,
  );
  let text = "";
  for (let i = 0; i < coded.length; i += 20)
    text += `${coded.slice(i, i + 20).join("")}${i + 20 < coded.length ? "=\r\n" : ""}`;
  return text;
}

/** Writes a tree, each boundary with its own number, so that none is the begin of another. */
function write(node: Tree, number: { next: number }): string {
  if (node.kind === "leaf") {
    const text =
      node.encoding === "base64"
        ? Buffer.from(node.body)
            .toString("base64")
            .replace(/.{1,76}/g, "$&\r\n")
        : node.encoding === "8bit"
          ? plain(node.body)
          : quotedPrintable(node.body);
    return `Content-Type: application/x-test; name="${node.name}"\r\nContent-Disposition: attachment;\r\n filename="${node.name}"\r\nContent-Transfer-Encoding: ${node.encoding}\r\n\r\n${text}`;
  }
  const line = `${node.boundary}${number.next++}x`;
  const children = node.children.map((child) => `--${line}\r\n${write(child, number)}\r\n`).join("");
  return `Content-Type: multipart/mixed; boundary="${line}"\r\n\r\npreamble\r\n${children}--${line}--\r\nepilogue`;
}

/** 8bit text: letters only, so that it is neither a boundary nor coded content. */
const plain = (body: Uint8Array): string => Buffer.from(body).toString("hex").replace(/.{60}/g, "$&\r\n");
const bodyWanted = (node: Leaf): string =>
  node.encoding === "8bit" ? plain(node.body) : Buffer.from(node.body).toString("latin1");

function leaves(node: Tree): Leaf[] {
  return node.kind === "leaf" ? [node] : node.children.flatMap(leaves);
}

const line = (name: string | null, body: Uint8Array | string): string =>
  `${name} ${Buffer.from(body as Uint8Array)
    .toString("latin1")
    .replace(/\r?\n/g, "\n")
    .replace(/\n+$/, "")}`;

function ours(raw: Buffer): string[] {
  const found: string[] = [];
  const visit = (part: Part): void => {
    if (part.children.length === 0) found.push(line(part.fileName, Buffer.concat([...bodyOf(raw, part)])));
    for (const child of part.children) visit(child);
  };
  visit(readParts(raw, LIMITS, new WarningList()).root);
  return found;
}

describe("the MIME walker", () => {
  it("finds what was written, and what postal-mime finds", async () => {
    await fc.assert(
      fc.asyncProperty(mails, async ({ crlf, ...root }) => {
        const text = `From: a@b.example\r\nSubject: x\r\nMIME-Version: 1.0\r\n${write({ kind: "multi", ...root }, { next: 0 })}\r\n`;
        const raw = Buffer.from(crlf ? text : text.replaceAll("\r\n", "\n"), "latin1");
        const wanted = root.children
          .flatMap(leaves)
          .map((each) => line(each.name, Buffer.from(bodyWanted(each), "latin1")));
        expect(ours(raw)).toEqual(wanted);
        const { attachments } = await PostalMime.parse(raw);
        expect(
          attachments.map((each) => line(each.filename, new Uint8Array(each.content as ArrayBuffer))),
        ).toEqual(wanted);
      }),
      { seed: SEED, numRuns: 150 },
    );
  });

  it("takes any damage: bytes changed, cut out and doubled", () => {
    fc.assert(
      fc.property(
        mails,
        fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 }), fc.nat({ max: 40 })), {
          minLength: 1,
          maxLength: 6,
        }),
        (mail, changes) => {
          let raw = Buffer.from(`Subject: x\r\n${write({ kind: "multi", ...mail }, { next: 0 })}`, "latin1");
          for (const [place, byte, length] of changes) {
            const at = place % (raw.length + 1);
            const rest = byte % 3 === 0 ? raw.subarray(at) : raw.subarray(Math.min(raw.length, at + length));
            raw = Buffer.concat([raw.subarray(0, at), Buffer.from([byte]), rest]);
          }
          const { outcome } = read(raw);
          expect(["imported", "invalid", "not-a-report"]).toContain(outcome);
        },
      ),
      { seed: SEED, numRuns: 300 },
    );
  });

  it("takes any bytes at all", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 2000 }),
        fc.constantFrom("mail" as const, "file" as const),
        (raw, form) => {
          expect(read(raw, { form }).ids).toEqual([]);
        },
      ),
      { seed: SEED, numRuns: 300 },
    );
  });
});
