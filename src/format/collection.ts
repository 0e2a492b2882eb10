/** Splits collections of reports for import: mbox files and tar archives (also gzipped). */

import { Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { isTar, TarReader } from "./container/tar.ts";

export interface Piece {
  readonly member: string | null;
  readonly raw: Uint8Array;
  readonly form: "mail" | "file";
}

/** Bytes of one member or file. */
const LARGEST = 256 << 20;
const HEAD = 512;

/** The pieces of a file; a file that is no collection is its only piece. */
export async function* splitCollection(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Piece> {
  const source = await peeked(chunks);
  if (source.head.toString("latin1", 0, 5) === "From ") yield* splitMbox(source.rest);
  else if (isTar(source.head)) yield* splitTar(source.rest);
  else if (source.head[0] === 0x1f && source.head[1] === 0x8b) yield* splitGzip(source.rest);
  else yield { member: null, raw: await collect(source.rest), form: "file" };
}

async function peeked(
  chunks: AsyncIterable<Uint8Array>,
): Promise<{ head: Buffer; rest: AsyncIterable<Uint8Array> }> {
  const iterator = chunks[Symbol.asyncIterator]();
  const first: Uint8Array[] = [];
  let size = 0;
  while (size < HEAD) {
    const { value, done } = await iterator.next();
    if (done) break;
    first.push(value);
    size += value.length;
  }
  async function* rest(): AsyncGenerator<Uint8Array> {
    yield* first;
    for (;;) {
      const { value, done } = await iterator.next();
      if (done) return;
      yield value;
    }
  }
  return { head: Buffer.concat(first), rest: rest() };
}

/** A gzipped tar is opened; any other gzip is a report and stays as it is. */
async function* splitGzip(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Piece> {
  const raw = await collect(chunks);
  const inner = Readable.from([raw]).pipe(createGunzip());
  try {
    const opened = await peeked(inner as AsyncIterable<Uint8Array>);
    if (isTar(opened.head)) {
      yield* splitTar(opened.rest);
      return;
    }
  } catch {
    // damaged: its reader says how
  } finally {
    inner.destroy();
  }
  yield { member: null, raw, form: "file" };
}

async function* splitTar(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Piece> {
  const reader = new TarReader(LARGEST);
  for await (const chunk of chunks) {
    for (const { name, content } of reader.write(chunk)) yield { member: name, raw: content, form: "file" };
  }
}

/** `From ` lines divide; `>From ` inside a message loses its mark (mboxrd). Members are numbered from 1. */
async function* splitMbox(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Piece> {
  let number = 0;
  const lines: Buffer[] = [];
  let rest: Buffer = Buffer.alloc(0);
  let blank = true;
  const message = (): Piece => ({
    member: String(++number),
    raw: Buffer.concat(lines.splice(0)),
    form: "mail",
  });
  for await (const chunk of chunks) {
    let bytes = rest.length > 0 ? Buffer.concat([rest, chunk]) : Buffer.from(chunk);
    for (;;) {
      const lf = bytes.indexOf(0x0a);
      if (lf < 0) break;
      const line = bytes.subarray(0, lf + 1);
      bytes = bytes.subarray(lf + 1);
      if (blank && line.toString("latin1", 0, 5) === "From ") {
        if (lines.length > 0) yield message();
      } else lines.push(/^>+From /.test(line.toString("latin1", 0, 20)) ? line.subarray(1) : line);
      blank = line.length === 1 || (line.length === 2 && line[0] === 0x0d);
    }
    rest = Buffer.from(bytes);
  }
  if (rest.length > 0) lines.push(rest);
  if (lines.length > 0) yield message();
}

async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
}
