/** Splits collections of reports for import: mbox files and tar archives, also gzipped ones, in a stream. */
import { Readable } from "node:stream";
import { createGunzip, gunzipSync, constants as zlib } from "node:zlib";
import { ReadStop } from "../context.ts";
import { isTar, TarReader } from "./tar.ts";

export interface Piece {
  /** Number in an mbox (from 1) or name in an archive; null for the file itself. */
  readonly member: string | null;
  readonly raw: Uint8Array;
  readonly form: "mail" | "file";
}

/** Told of a member, or of the file itself (null), that is skipped. */
export type Refused = (member: string | null, stop: ReadStop) => void;

/** Bytes of one member or file. */
const LARGEST = 256 << 20;
const HEAD = 512;
/** Compressed bytes in which the first block of a tar is found. */
const GZIP_HEAD = 16_384;

type Kind = "mbox" | "tar" | "tar.gz" | "single";

/** True when a file that begins with `head` (16 KiB are enough) holds several things to import. */
export function isCollection(head: Uint8Array): boolean {
  return kindOf(Buffer.from(head.buffer, head.byteOffset, head.byteLength)) !== "single";
}

function kindOf(head: Buffer): Kind {
  if (head.toString("latin1", 0, 5) === "From ") return "mbox";
  if (isTar(head)) return "tar";
  if (head[0] !== 0x1f || head[1] !== 0x8b) return "single";
  return isTar(gunzippedHead(head.subarray(0, GZIP_HEAD))) ? "tar.gz" : "single";
}

/** What the begin of a gzip stream gives; nothing when it is damaged. */
function gunzippedHead(head: Buffer): Buffer {
  try {
    return gunzipSync(head, { finishFlush: zlib.Z_SYNC_FLUSH, maxOutputLength: 32 << 20 }).subarray(0, HEAD);
  } catch {
    return Buffer.alloc(0); // the parser reports the damage
  }
}

/**
 * The pieces of a file; one that is no collection is its only piece. Pieces over 256 MiB are skipped, and so is
 * what comes behind damage in an archive. Throws what `chunks` throws.
 */
export async function* splitCollection(
  chunks: AsyncIterable<Uint8Array>,
  refused: Refused = () => {},
): AsyncGenerator<Piece> {
  const { head, rest } = await peeked(chunks);
  const kind = kindOf(head);
  try {
    if (kind === "mbox") yield* splitMbox(rest, refused);
    else if (kind === "tar") yield* splitTar(rest, refused);
    else if (kind === "tar.gz") yield* splitTar(gunzipped(rest), refused);
    else yield { member: null, raw: await whole(rest), form: "file" };
  } catch (error) {
    if (!(error instanceof ReadStop)) throw error;
    refused(null, error);
  }
}

async function peeked(
  chunks: AsyncIterable<Uint8Array>,
): Promise<{ head: Buffer; rest: AsyncIterable<Uint8Array> }> {
  const iterator = chunks[Symbol.asyncIterator]();
  const first: Uint8Array[] = [];
  let size = 0;
  while (size < GZIP_HEAD) {
    const { value, done } = await iterator.next();
    if (done) break;
    first.push(value);
    size += value.length;
  }
  async function* rest(): AsyncGenerator<Uint8Array> {
    try {
      yield* first;
      for (;;) {
        const { value, done } = await iterator.next();
        if (done) return;
        yield value;
      }
    } finally {
      await iterator.return?.();
    }
  }
  return { head: Buffer.concat(first), rest: rest() };
}

/** Throws ReadStop `truncated` where the stream is damaged. */
async function* gunzipped(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const source = Readable.from(chunks, { objectMode: false });
  const gunzip = createGunzip();
  source.on("error", (error) => gunzip.destroy(error));
  try {
    yield* source.pipe(gunzip) as AsyncIterable<Uint8Array>;
  } catch (error) {
    if (!(error as NodeJS.ErrnoException).code?.startsWith("Z_")) throw error;
    throw new ReadStop("truncated", (error as Error).message);
  } finally {
    source.destroy();
    gunzip.destroy();
  }
}

async function* splitTar(chunks: AsyncIterable<Uint8Array>, refused: Refused): AsyncGenerator<Piece> {
  const reader = new TarReader(LARGEST, refused);
  for await (const chunk of chunks) {
    for (const { name, content } of reader.write(chunk)) yield { member: name, raw: content, form: "file" };
  }
  reader.end();
}

const FROM = Buffer.from("From ");

/**
 * A `From ` line at the begin or behind an empty line divides; `>From ` inside a message loses one mark (mboxrd).
 * Lines are put together from chunks, so that neither a long line nor many short ones cost more than their bytes.
 */
async function* splitMbox(chunks: AsyncIterable<Uint8Array>, refused: Refused): AsyncGenerator<Piece> {
  const mail = new MboxMail();
  let number = 0;
  const finish = (): Piece | undefined => {
    const raw = mail.take();
    if (raw === undefined) return undefined;
    number++;
    if (raw !== "too-large") return { member: String(number), raw, form: "mail" };
    refused(String(number), new ReadStop("too-large", `over ${LARGEST} bytes`));
    return undefined;
  };
  for await (const batch of lines(chunks)) {
    for (const line of batch) {
      if (mail.atDivider && line.subarray(0, FROM.length).equals(FROM)) {
        const piece = finish();
        if (piece) yield piece;
        mail.begin();
      } else mail.add(line);
    }
  }
  const last = finish();
  if (last) yield last;
}

/** The lines of one mail, bounded. */
class MboxMail {
  #lines: Buffer[] = [];
  #size = 0;
  #begun = false;
  atDivider = true;

  begin(): void {
    this.#begun = true;
    this.atDivider = false;
  }

  add(line: Buffer): void {
    this.#size += line.length;
    if (this.#size <= LARGEST) this.#lines.push(isQuotedFrom(line) ? line.subarray(1) : line);
    else this.#lines = [];
    this.atDivider = line.length <= 2 && (line[0] === 0x0a || line[0] === 0x0d);
  }

  take(): Buffer | "too-large" | undefined {
    const raw = this.#size > LARGEST ? "too-large" : Buffer.concat(this.#lines);
    const some = this.#begun || this.#size > 0;
    this.#lines = [];
    this.#size = 0;
    return some ? raw : undefined;
  }
}

/** `>From `, `>>From `: at most some marks are looked at. */
function isQuotedFrom(line: Buffer): boolean {
  return line[0] === 0x3e && /^>+From /.test(line.toString("latin1", 0, 40));
}

/** Lines with their ends, chunk by chunk. A line over the largest mail comes in pieces. */
async function* lines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer[]> {
  let begun: Buffer[] = [];
  let size = 0;
  for await (const chunk of chunks) {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    const batch: Buffer[] = [];
    let at = 0;
    for (let lf = bytes.indexOf(0x0a); lf >= 0; lf = bytes.indexOf(0x0a, at)) {
      const end = bytes.subarray(at, lf + 1);
      batch.push(begun.length > 0 ? Buffer.concat([...begun, end]) : end);
      begun = [];
      size = 0;
      at = lf + 1;
    }
    if (at < bytes.length) begun.push(bytes.subarray(at));
    size += bytes.length - at;
    if (size > LARGEST) {
      batch.push(Buffer.concat(begun));
      begun = [];
      size = 0;
    }
    yield batch;
  }
  if (begun.length > 0) yield [Buffer.concat(begun)];
}

async function whole(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of chunks) {
    size += chunk.length;
    if (size > LARGEST) throw new ReadStop("too-large", `over ${LARGEST} bytes`);
    all.push(chunk);
  }
  return Buffer.concat(all);
}
