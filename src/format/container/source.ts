/** Looking at the begin of a source, and holding all of it. */
import type { WarningList } from "../../model/outcome.ts";
import { type ByteSource, ReadStop } from "../context.ts";

/**
 * The first `wanted` bytes of a source, and the source: opened the first time, it goes on with what was read for
 * looking. A container that is damaged later is found out by its reader.
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
 * All bytes of a source. Throws ReadStop `too-large` beyond `most`. A wrong checksum comes behind all bytes: where
 * `noted` is given it is noted there, else thrown.
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
