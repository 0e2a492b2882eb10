/**
 * Zip archives by their central directory: stored and deflated entries, nothing else. Declared sizes are not trusted, names
 * are labels and never paths, ranges may not overlap, and there is no ZIP64.
 */
import { crc32 } from "node:zlib";
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
  /** Why it cannot be opened; null when it can. */
  readonly refused: ReadStop | null;
  readonly size: number;
  readonly source: ByteSource;
}

/** Where the central directory is, and how far everything was moved by bytes in front of the archive. */
interface Directory {
  readonly at: number;
  readonly end: number;
  readonly count: number;
  readonly moved: number;
}

interface Around {
  readonly limits: IngestLimits;
  readonly budget: Budget;
  readonly warnings: WarningList;
}

/**
 * The entries that may be reports: no directories, dot files or __MACOSX; none of an office document, which is a zip
 * archive as well. Throws ReadStop.
 */
export function zipEntries(
  bytes: Buffer,
  limits: IngestLimits,
  budget: Budget,
  warnings: WarningList,
): ZipEntry[] {
  const directory = findDirectory(bytes);
  if (directory.count === 0) throw new ReadStop("empty-archive");
  if (directory.count > limits.archive_entries)
    throw new ReadStop("too-many-entries", `${directory.count} zip entries`);
  const entries: ZipEntry[] = [];
  const ranges: [number, number][] = [];
  let { at } = directory;
  for (let i = 0; i < directory.count; i++) {
    if (at + ENTRY_SIZE > directory.end || bytes.readUInt32LE(at) !== 0x02014b50)
      throw new ReadStop("truncated", "zip directory");
    const nameLength = bytes.readUInt16LE(at + 28);
    const nameEnd = at + ENTRY_SIZE + Math.min(nameLength, LONGEST_NAME);
    const name = bytes.toString("utf8", at + ENTRY_SIZE, nameEnd);
    if (OFFICE_DOCUMENT.test(name)) return [];
    if (worthReading(name))
      entries.push(readEntry(bytes, at, name, directory, ranges, { limits, budget, warnings }));
    at += ENTRY_SIZE + nameLength + bytes.readUInt16LE(at + 30) + bytes.readUInt16LE(at + 32);
  }
  return entries;
}

/** OOXML, OpenDocument and Java archives are known by the name of their first entry. */
const OFFICE_DOCUMENT = /^(?:\[Content_Types\]\.xml|mimetype|META-INF\/.*)$/;

/**
 * The end record, searched backwards behind a comment. The comment may contain another one: a record
 * with offsets that are right as they are and a comment that ends with the file is preferred.
 */
function findDirectory(bytes: Buffer): Directory {
  const lowest = Math.max(0, bytes.length - END_SIZE - LONGEST_COMMENT);
  let best: Directory | undefined;
  let bestRank = -1;
  for (let at = bytes.length - END_SIZE; at >= lowest; at--) {
    if (bytes[at] !== 0x50 || bytes.readUInt32LE(at) !== 0x06054b50) continue;
    const size = bytes.readUInt32LE(at + 12);
    const moved = at - size - bytes.readUInt32LE(at + 16);
    if (moved < 0) continue;
    const reaches = at + END_SIZE + bytes.readUInt16LE(at + 20) === bytes.length;
    const rank = (moved === 0 ? 2 : 0) + (reaches ? 1 : 0);
    if (rank > bestRank) {
      best = { at: at - size, end: at, count: bytes.readUInt16LE(at + 10), moved };
      bestRank = rank;
    }
    if (rank === 3) break;
  }
  if (!best) throw new ReadStop("truncated", "no zip directory");
  return best;
}

function worthReading(name: string): boolean {
  if (name.endsWith("/") || name.startsWith("__MACOSX/")) return false;
  return !name.slice(name.lastIndexOf("/") + 1).startsWith(".");
}

function readEntry(
  bytes: Buffer,
  at: number,
  name: string,
  directory: Directory,
  ranges: [number, number][],
  around: Around,
): ZipEntry {
  const packed = bytes.readUInt32LE(at + 20);
  const local = bytes.readUInt32LE(at + 42) + directory.moved;
  const method = bytes.readUInt16LE(at + 10);
  const refusal =
    refusalOf(bytes, at, method, around.limits) ?? misplaced(bytes, local, packed, directory, ranges);
  if (refusal) return { name, refused: refusal, size: packed, source: { open: () => [] } };
  const start = contentStart(bytes, local);
  ranges.push([local, start + packed]);
  const content: ByteSource = { open: () => [bytes.subarray(start, start + packed)] };
  const { budget, warnings } = around;
  const source =
    method === 0 ? content : inflated(content, { wrapping: "raw", budget, warnings, members: 1 });
  return { name, refused: null, size: packed, source: checked(source, bytes.readUInt32LE(at + 16)) };
}

/** Why an entry is not opened, by its entry in the directory. */
function refusalOf(bytes: Buffer, at: number, method: number, limits: IngestLimits): ReadStop | undefined {
  const declared = bytes.readUInt32LE(at + 24);
  if (bytes.readUInt16LE(at + 8) & 1) return new ReadStop("encrypted");
  if (method !== 0 && method !== 8) return new ReadStop("unsupported-method", `${method}`);
  if (declared > limits.decompressed_size) return new ReadStop("too-large", `${declared} bytes declared`);
  return undefined;
}

/** Why the offset of an entry cannot be right. */
function misplaced(
  bytes: Buffer,
  local: number,
  packed: number,
  directory: Directory,
  ranges: readonly [number, number][],
): ReadStop | undefined {
  if (local + LOCAL_SIZE > directory.at || bytes.readUInt32LE(local) !== 0x04034b50)
    return new ReadStop("truncated", "zip entry");
  const end = contentStart(bytes, local) + packed;
  if (end > directory.at) return new ReadStop("truncated", "zip entry");
  if (ranges.some(([from, to]) => local < to && end > from))
    return new ReadStop("too-large", "zip entries that overlap");
  return undefined;
}

function contentStart(bytes: Buffer, local: number): number {
  return local + LOCAL_SIZE + bytes.readUInt16LE(local + 26) + bytes.readUInt16LE(local + 28);
}

/** The source with its checksum verified: iterating throws ReadStop `bad-crc` after the last byte. */
function checked(source: ByteSource, wanted: number): ByteSource {
  return {
    *open() {
      let crc = 0;
      for (const chunk of source.open()) {
        crc = crc32(chunk, crc);
        yield chunk;
      }
      if (crc !== wanted) throw new ReadStop("bad-crc", "zip entry");
    },
  };
}
