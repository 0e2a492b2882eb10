/** Inflates gzip, zlib and raw deflate in slices, bounded while it inflates; keeps the bytes before the damage of a damaged stream. */

import { gunzipSync, inflateRawSync } from "node:zlib";
import { Z_BUF_ERROR, Z_NO_FLUSH, Z_OK, Z_STREAM_END, ZStream, zlibInflate, zlibInflateInit2 } from "pako";
import type { WarningList } from "../../model/outcome.ts";
import { type ByteSource, ReadStop } from "../context.ts";
import type { Budget } from "./budget.ts";

export type Wrapping = "gzip" | "zlib" | "raw";

const WINDOW: Readonly<Record<Wrapping, number>> = { gzip: 31, zlib: 15, raw: -15 };
const SLICE = 32_768;
/** Compressed bytes up to which the platform's own gunzip is tried first: it is four times as fast, but all or nothing. */
const SMALL = 32_768;
const SMALL_OUTPUT = 1 << 20;
/** NUL, line breaks and blanks behind a stream are padding, not garbage. */
const BLANK = 0x20;

export interface InflateOptions {
  readonly wrapping: Wrapping;
  readonly budget: Budget;
  readonly warnings: WarningList;
  /** Members of one gzip stream. */
  readonly members: number;
}

/** A source of the inflated bytes. Iterating throws ReadStop: too-large, truncated, bad-crc, too-many-entries. */
export function inflated(source: ByteSource, options: InflateOptions): ByteSource {
  const meter = options.budget.meter();
  return {
    *open() {
      meter.begin();
      const small = wholeSmall(source, options.wrapping);
      if (small) {
        meter.take(small.length, small.length);
        yield small;
      } else yield* inflateMembers(source.open(), options, meter);
    },
  };
}

/** One small stream without damage, as a whole; undefined for everything else. */
function wholeSmall(source: ByteSource, wrapping: Wrapping): Buffer | undefined {
  if (wrapping === "zlib") return undefined;
  let packed: Uint8Array | undefined;
  for (const chunk of source.open()) {
    if (packed || chunk.length > SMALL) return undefined;
    packed = chunk;
  }
  if (!packed || packed.length === 0) return undefined;
  try {
    if (wrapping === "raw") return inflateRawSync(packed, { maxOutputLength: SMALL_OUTPUT });
    // the length at the end is that of the last member: another one, or garbage, would show
    const { buffer, byteOffset, length } = packed;
    const told = new DataView(buffer, byteOffset + length - 4, 4).getUint32(0, true);
    if (told >= SMALL_OUTPUT) return undefined;
    const out = gunzipSync(packed, { maxOutputLength: SMALL_OUTPUT, chunkSize: Math.max(64, told + 1) });
    return told === out.length ? out : undefined;
  } catch {
    return undefined; // damaged or large: the streaming way tells more
  }
}

function* inflateMembers(
  chunks: Iterable<Uint8Array>,
  { wrapping, warnings, members }: InflateOptions,
  meter: ReturnType<Budget["meter"]>,
): Generator<Uint8Array> {
  let stream = begin(wrapping);
  let member = 1;
  let carried = 0;
  /** The member before has ended; what follows is another one or garbage. */
  let between = false;
  let head: Uint8Array = new Uint8Array(0);
  for (const chunk of chunks) {
    carried += chunk.length;
    let input = chunk;
    if (between) {
      input = head.length > 0 ? Buffer.concat([head, chunk]) : chunk;
      if (input.length < 3) {
        head = input;
        continue;
      }
    }
    for (;;) {
      if (between) {
        if (!isGzip(input)) {
          if (input.some((byte) => byte > BLANK)) warnings.add("gzip-trailing-garbage");
          return;
        }
        if (++member > members) throw new ReadStop("too-many-entries", "gzip members");
        warnings.add("gzip-members");
        stream = begin(wrapping);
        between = false;
        head = new Uint8Array(0);
      }
      stream.input = input;
      stream.next_in = 0;
      stream.avail_in = input.length;
      let status: number = Z_OK;
      do {
        stream.output = new Uint8Array(SLICE); // passed on, so never used twice
        stream.next_out = 0;
        stream.avail_out = SLICE;
        status = zlibInflate(stream, Z_NO_FLUSH);
        if (stream.next_out > 0) {
          meter.take(stream.next_out, carried - stream.avail_in);
          yield stream.output.subarray(0, stream.next_out);
        }
        if (status === Z_BUF_ERROR) break; // wants more input
        if (status !== Z_OK && status !== Z_STREAM_END) throw damaged(stream);
      } while (status !== Z_STREAM_END && (stream.avail_in > 0 || stream.avail_out === 0));
      if (status !== Z_STREAM_END) break;
      between = true;
      if (wrapping !== "gzip") return;
      input = input.subarray(input.length - stream.avail_in);
      if (input.length < 3) {
        head = Uint8Array.from(input);
        break;
      }
    }
  }
  if (!between) throw new ReadStop("truncated", "the compressed stream ends early");
  if (head.some((byte) => byte > BLANK)) warnings.add("gzip-trailing-garbage");
}

function begin(wrapping: Wrapping): ZStream {
  const stream = new ZStream();
  if (zlibInflateInit2(stream, WINDOW[wrapping]) !== Z_OK)
    throw new ReadStop("internal", "inflate does not begin");
  return stream;
}

function isGzip(bytes: Uint8Array): boolean {
  return bytes[0] === 0x1f && bytes[1] === 0x8b && bytes[2] === 8;
}

/** A wrong checksum or length comes after all the content; anything else means that content is missing. */
function damaged(stream: ZStream): ReadStop {
  const checksum = stream.msg === "incorrect data check" || stream.msg === "incorrect length check";
  return new ReadStop(checksum ? "bad-crc" : "truncated", stream.msg || "damaged");
}
