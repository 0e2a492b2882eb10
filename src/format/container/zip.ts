/**
 * Zip archives by their central directory: stored and deflated entries, nothing else. Sizes are never believed, names
 * are labels and never paths, ranges may not overlap, and there is no ZIP64.
 */
import type { IngestLimits } from "../../config/schema.ts";
import type { WarningList } from "../../model/outcome.ts";
import { type ByteSource, ReadStop } from "../context.ts";
import type { Budget } from "./budget.ts";
import { inflated } from "./inflate.ts";

const END_SIZE = 22;
const ENTRY_SIZE = 46;
const LOCAL_SIZE = 30;
const LONGEST_COMMENT = 65_535;
const LONGEST_NAME = 255;

export interface ZipEntry {
  readonly name: string;
  /** Why it cannot be read; null when it can. */
  readonly refused: ReadStop | null;
  readonly size: number;
  readonly source: ByteSource;
}

/** The entries worth looking at: no directories, dot files or __MACOSX. Throws ReadStop. */
export function zipEntries(
  bytes: Buffer,
  limits: IngestLimits,
  budget: Budget,
  warnings: WarningList,
): ZipEntry[] {
  const end = findEnd(bytes);
  const count = bytes.readUInt16LE(end + 10);
  const directory = bytes.readUInt32LE(end + 16);
  if (count === 0) throw new ReadStop("empty-archive");
  if (count > limits.archive_entries) throw new ReadStop("too-many-entries", `${count} zip entries`);
  const entries: ZipEntry[] = [];
  const ranges: [number, number][] = [];
  let at = directory;
  for (let i = 0; i < count; i++) {
    if (at + ENTRY_SIZE > end || bytes.readUInt32LE(at) !== 0x02014b50)
      throw new ReadStop("truncated", "zip directory");
    const nameLength = bytes.readUInt16LE(at + 28);
    const next = at + ENTRY_SIZE + nameLength + bytes.readUInt16LE(at + 30) + bytes.readUInt16LE(at + 32);
    const name = bytes.toString(
      "utf8",
      at + ENTRY_SIZE,
      at + ENTRY_SIZE + Math.min(nameLength, LONGEST_NAME),
    );
    if (worthReading(name))
      entries.push(readEntry(bytes, at, name, directory, ranges, { limits, budget, warnings }));
    at = next;
  }
  return entries;
}

/** The end record, searched backwards behind a comment. */
function findEnd(bytes: Buffer): number {
  const lowest = Math.max(0, bytes.length - END_SIZE - LONGEST_COMMENT);
  for (let at = bytes.length - END_SIZE; at >= lowest; at--) {
    if (bytes[at] !== 0x50 || bytes.readUInt32LE(at) !== 0x06054b50) continue;
    const size = bytes.readUInt32LE(at + 12);
    const offset = bytes.readUInt32LE(at + 16);
    if (offset + size <= at) return at;
  }
  throw new ReadStop("truncated", "no zip directory");
}

function worthReading(name: string): boolean {
  if (name.endsWith("/") || name.startsWith("__MACOSX/")) return false;
  return !name.slice(name.lastIndexOf("/") + 1).startsWith(".");
}

function readEntry(
  bytes: Buffer,
  at: number,
  name: string,
  directory: number,
  ranges: [number, number][],
  { limits, budget, warnings }: { limits: IngestLimits; budget: Budget; warnings: WarningList },
): ZipEntry {
  const flags = bytes.readUInt16LE(at + 8);
  const method = bytes.readUInt16LE(at + 10);
  const packed = bytes.readUInt32LE(at + 20);
  const declared = bytes.readUInt32LE(at + 24);
  const local = bytes.readUInt32LE(at + 42);
  const refuse = (stop: ReadStop): ZipEntry => ({
    name,
    refused: stop,
    size: packed,
    source: { open: () => [] },
  });
  if (flags & 1) return refuse(new ReadStop("encrypted", name));
  if (method !== 0 && method !== 8) return refuse(new ReadStop("unsupported-method", `${method}`));
  if (declared > limits.decompressed_size)
    return refuse(new ReadStop("too-large", `${declared} bytes declared`));
  if (local + LOCAL_SIZE > directory || bytes.readUInt32LE(local) !== 0x04034b50) {
    return refuse(new ReadStop("truncated", "zip entry"));
  }
  const start = local + LOCAL_SIZE + bytes.readUInt16LE(local + 26) + bytes.readUInt16LE(local + 28);
  const end = start + packed;
  if (end > directory) return refuse(new ReadStop("truncated", "zip entry"));
  if (ranges.some(([from, to]) => local < to && end > from)) {
    return refuse(new ReadStop("too-large", "zip entries that overlap"));
  }
  ranges.push([local, end]);
  const content: ByteSource = { open: () => [bytes.subarray(start, end)] };
  const source =
    method === 0 ? content : inflated(content, { wrapping: "raw", budget, warnings, members: 1 });
  return { name, refused: null, size: packed, source };
}
