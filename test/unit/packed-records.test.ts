/** Records in their packed form: what goes in comes out, in order. */
import { describe, expect, it } from "vitest";
import { NumberReader, NumberWriter } from "../../src/lib/leb128.ts";
import {
  BLOCK_RECORDS,
  PackedCursor,
  placesOf,
  RecordPacker,
  readAuthset,
} from "../../src/model/packed-records.ts";
import type { DmarcRecord } from "../../src/model/report.ts";

const record = (changed: Partial<DmarcRecord> = {}): DmarcRecord => ({
  sourceIp: "192.0.2.1",
  count: 1,
  disposition: "none",
  dkim: "pass",
  spf: "fail",
  reasons: [],
  headerFrom: "example.com",
  envelopeFrom: null,
  envelopeTo: null,
  dkimResults: [],
  spfResults: [],
  extensions: null,
  raw: null,
  ...changed,
});

describe("numbers of variable length", () => {
  it("are read as they were written, up to 2^53 - 1", () => {
    const numbers = [0, 1, 127, 128, 16_383, 16_384, 2 ** 31, 2 ** 32 + 5, Number.MAX_SAFE_INTEGER];
    const writer = new NumberWriter(8);
    for (const n of numbers) writer.write(n);
    const reader = new NumberReader();
    reader.open(writer.take());
    const found: number[] = [];
    while (!reader.done) found.push(reader.read());
    expect(found).toEqual(numbers);
  });
});

describe("packed records", () => {
  it("keep order, counts and evaluations; equal addresses and identifiers are there once", () => {
    const packer = new RecordPacker();
    for (const [sourceIp, count] of [
      ["192.0.2.1", 3],
      ["2001:db8::1", 2],
      ["192.0.2.1", 5],
    ] as const)
      packer.add(record({ sourceIp, count }));
    packer.add(record({ headerFrom: "other\nline.example", dkim: "fail", count: 7 }));
    const packed = packer.take();
    const sources = placesOf(packed.sources, packed.count);
    const authsets = placesOf(packed.authsets, packed.count);
    expect(sources).toEqual(["192.0.2.1", "2001:db8::1"]);
    expect(authsets.map((text) => readAuthset(text).headerFrom)).toEqual([
      "example.com",
      "other\nline.example",
    ]);
    const cursor = new PackedCursor(packed);
    const rows: unknown[] = [];
    while (cursor.next()) rows.push([sources[cursor.source], cursor.authset, cursor.count]);
    expect(rows).toEqual([
      ["192.0.2.1", 0, 3],
      ["2001:db8::1", 0, 2],
      ["192.0.2.1", 0, 5],
      ["192.0.2.1", 1, 7],
    ]);
    expect(packed.evaluations.map(([, messages]) => messages)).toEqual([10, 7]);
    expect(packed.extras).toEqual([]);
  });

  it("keep what few records have beside their block, by the place in it", () => {
    const packer = new RecordPacker();
    for (let i = 0; i < BLOCK_RECORDS + 2; i++)
      packer.add(record(i === BLOCK_RECORDS + 1 ? { reasons: [{ type: "other", comment: "x" }] } : {}));
    const { extras, count } = packer.take();
    expect(count).toBe(BLOCK_RECORDS + 2);
    expect(extras).toEqual([null, '{"1":{"reasons":[{"type":"other","comment":"x"}]}}']);
  });

  it("of no records is empty", () => {
    const packed = new RecordPacker().take();
    expect([packed.count, placesOf(packed.sources, packed.count), new PackedCursor(packed).next()]).toEqual([
      0,
      [],
      false,
    ]);
  });
});
