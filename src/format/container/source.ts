/** Reads the begin of a source, or all of it. */
import type { WarningList } from "../../model/outcome.ts";
import { type ByteSource, ReadStop } from "../context.ts";

/**
 * The first `wanted` bytes of a source, and the source: opened the first time, it starts with the
 * bytes that were read here. Damage further on is found by the parser of the container.
 */
export function peek(
  source: ByteSource,
  wanted: number,
): { readonly head: Buffer; readonly source: ByteSource } {
  const chunks: Uint8Array[] = [];
  const iterator = source.open()[Symbol.iterator]();
  let size = 0;
  let stop: ReadStop | undefined;
  try {
    while (size < wanted) {
      const { value, done } = iterator.next();
      if (done) break;
      chunks.push(value);
      size += value.length;
    }
  } catch (error) {
    if (!(error instanceof ReadStop) || size === 0) throw error;
    stop = error;
  }
  function* goOn(): Generator<Uint8Array> {
    yield* chunks;
    if (stop) throw stop;
    for (;;) {
      const { value, done } = iterator.next();
      if (done) return;
      yield value;
    }
  }
  let fresh = true;
  return {
    head: joined(chunks).subarray(0, wanted),
    source: {
      open() {
        if (!fresh) return source.open();
        fresh = false;
        return goOn();
      },
    },
  };
}

/**
 * All bytes of a source. Throws ReadStop `too-large` beyond `most`. A wrong checksum is found after
 * all bytes: it is added to `noted` when that is given, else thrown.
 */
export function collect(
  source: ByteSource,
  { most, noted }: { readonly most: number; readonly noted?: WarningList },
): Buffer {
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for (const chunk of source.open()) {
      size += chunk.length;
      if (size > most) throw new ReadStop("too-large", `over ${most} bytes`);
      chunks.push(chunk);
    }
  } catch (error) {
    if (!(error instanceof ReadStop) || error.reason !== "bad-crc" || !noted || size === 0) throw error;
    noted.add("gzip-bad-checksum");
  }
  return joined(chunks);
}

/** Chunks as one Buffer; a single one is not copied. */
function joined(chunks: readonly Uint8Array[]): Buffer {
  const [first] = chunks;
  if (first && chunks.length === 1) return Buffer.from(first.buffer, first.byteOffset, first.byteLength);
  return Buffer.concat(chunks);
}
