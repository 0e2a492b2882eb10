/** Collections for import: mbox, tar, tar.gz; anything else is its only piece. */
import { describe, expect, it } from "vitest";
import { splitCollection } from "../../src/format/container/collection.ts";
import { dmarcXml, gz, tar } from "../support/reading.ts";

async function* chunked(raw: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < raw.length; at += size) yield raw.subarray(at, at + size);
}

/** The pieces as `member form text`, read in chunks of a size; and what was refused. */
async function split(
  raw: Uint8Array | string,
  size = 65_536,
): Promise<{ pieces: string[]; refused: string[] }> {
  const pieces: string[] = [];
  const refused: string[] = [];
  const bytes = typeof raw === "string" ? Buffer.from(raw) : raw;
  const told = (member: string | null, stop: { reason: string }): void =>
    void refused.push(`${member} ${stop.reason}`);
  for await (const { member, form, raw: piece } of splitCollection(chunked(bytes, size), told)) {
    pieces.push(`${member} ${form} ${Buffer.from(piece).toString()}`);
  }
  return { pieces, refused };
}

const good = (what: string, raw: Uint8Array | string, wanted: readonly string[]) =>
  it.each([1, 7, 65_536])(`${what}, in chunks of %i`, async (size) => {
    expect(await split(raw, size)).toEqual({ pieces: wanted, refused: [] });
  });

const MBOX =
  "From a@b Thu Nov 16 01:00:00 2023\nSubject: 1\n\nOne\n>From here\n>>From there\n\nFrom c@d Thu Nov 16 01:00:00 2023\nSubject: 2\n\nTwo\nFrom the middle is no divider\n";

describe("a collection", () => {
  good("mbox is divided, its quoting undone", MBOX, [
    "1 mail Subject: 1\n\nOne\nFrom here\n>From there\n\n",
    "2 mail Subject: 2\n\nTwo\nFrom the middle is no divider\n",
  ]);
  good("mbox with CRLF is divided", "From a@b x\r\nA: 1\r\n\r\nFrom c@d x\r\nB: 2\r\n", [
    "1 mail A: 1\r\n\r\n",
    "2 mail B: 2\r\n",
  ]);
  good("mbox without a line break at its end is whole", "From a@b x\nA: 1\n\nlast", ["1 mail A: 1\n\nlast"]);
  good(
    "tar is divided",
    tar([
      { name: "d/a.xml", content: "A" },
      { name: "b.xml", content: "B".repeat(600) },
    ]),
    ["d/a.xml file A", `b.xml file ${"B".repeat(600)}`],
  );
  good(
    "tar.gz is divided",
    gz(
      tar([
        { name: "a.xml", content: "A" },
        { name: "b.xml", content: "" },
      ]),
    ),
    ["a.xml file A", "b.xml file "],
  );
  it("of more entries than a mail may have is divided", async () => {
    const many = tar(Array.from({ length: 500 }, (_, i) => ({ name: `${i}`, content: "x" })));
    expect((await split(gz(many))).pieces).toHaveLength(500);
  });
  it("that is cut gives what is whole, and says so", async () => {
    const whole = tar([
      { name: "a", content: "A" },
      { name: "b", content: "B".repeat(5000) },
    ]);
    expect(await split(whole.subarray(0, 2000))).toEqual({
      pieces: ["a file A"],
      refused: ["null truncated"],
    });
    const packed = gz(
      tar([
        { name: "a", content: "A" },
        { name: "b", content: dmarcXml() },
      ]),
    );
    expect((await split(packed.subarray(0, packed.length - 30))).refused).toEqual(["null truncated"]);
  });
});

describe("anything else is its only piece", () => {
  good("XML", "<feedback/>", ["null file <feedback/>"]);
  good("nothing", "", ["null file "]);
  it("a gzip that is no tar, byte by byte as it was", async () => {
    const packed = gz(dmarcXml());
    for await (const { member, raw } of splitCollection(chunked(packed, 10))) {
      expect(member).toBeNull();
      expect(Buffer.from(raw).equals(packed)).toBe(true);
    }
  });
  it("a damaged gzip, for its reader to say how", async () => {
    const packed = gz(dmarcXml()).subarray(0, 40);
    const pieces: Uint8Array[] = [];
    for await (const { raw } of splitCollection(chunked(packed, 10))) pieces.push(raw);
    expect(Buffer.concat(pieces).equals(packed)).toBe(true);
  });
});
