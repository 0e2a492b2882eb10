/** Tar archives: regular files of ustar, GNU and pax archives, in a stream. */
import { ReadStop } from "../context.ts";

const BLOCK = 512;

export interface TarEntry {
  readonly name: string;
  readonly content: Buffer;
}

export function isTar(head: Uint8Array): boolean {
  return Buffer.from(head.subarray(257, 262)).toString("latin1") === "ustar";
}

/** What a type flag says: a file, a name for the next entry, or an entry that is skipped. */
type Role = "file" | "gnu-name" | "pax" | "other";
const ROLES: Readonly<Record<string, Role>> = {
  "0": "file",
  "\0": "file",
  "7": "file",
  L: "gnu-name",
  x: "pax",
};
/** Longer names and pax headers are refused. */
const LONGEST_NAME = 65_536;

/** Takes chunks of bytes and yields each entry when it is complete; it holds one entry at most. */
export class TarReader {
  readonly #largest: number;
  readonly #refuse: ((name: string, stop: ReadStop) => void) | undefined;
  readonly #header = Buffer.alloc(BLOCK);
  #headerFilled = 0;
  #role: Role = "other";
  #name = "";
  /** Content of the entry; undefined when it is skipped. */
  #content: Buffer | undefined;
  #filled = 0;
  /** Remaining bytes of the entry, and padding up to the next block. */
  #left = 0;
  #padding = 0;
  #longName: string | undefined;
  #ended = false;

  /**
   * @param largest bytes of one entry
   * @param refuse told of an entry that is larger, which is then skipped; without it reading ends there
   */
  constructor(largest: number, refuse?: (name: string, stop: ReadStop) => void) {
    this.#largest = largest;
    this.#refuse = refuse;
  }

  /** Throws ReadStop: too-large, truncated (a header that is not valid). */
  *write(chunk: Uint8Array): Generator<TarEntry> {
    let at = 0;
    while (at < chunk.length && !this.#ended) {
      if (this.#left === 0 && this.#padding === 0) {
        at += this.#fillHeader(chunk, at);
        if (this.#headerFilled < BLOCK) return;
        this.#headerFilled = 0;
        this.#begin();
      } else if (this.#left > 0) at += this.#fill(chunk, at);
      else {
        const skipped = Math.min(this.#padding, chunk.length - at);
        this.#padding -= skipped;
        at += skipped;
      }
      if (this.#left === 0 && this.#content) {
        const entry = this.#finish();
        if (entry) yield entry;
      }
    }
  }

  #fillHeader(chunk: Uint8Array, at: number): number {
    const taken = Math.min(BLOCK - this.#headerFilled, chunk.length - at);
    this.#header.set(chunk.subarray(at, at + taken), this.#headerFilled);
    this.#headerFilled += taken;
    return taken;
  }

  #begin(): void {
    const header = this.#header;
    if (header.every((byte) => byte === 0)) {
      this.#ended = true;
      return;
    }
    const size = sizeOf(header);
    const type = String.fromCharCode(header[156]!);
    this.#role = ROLES[type] ?? "other";
    this.#name = this.#longName ?? nameOf(header);
    if (this.#role === "other" && type !== "K" && type !== "g") this.#longName = undefined;
    this.#left = size;
    this.#padding = (BLOCK - (size % BLOCK)) % BLOCK;
    this.#filled = 0;
    const most = this.#role === "file" ? this.#largest : LONGEST_NAME;
    const wanted = this.#role !== "other" && size <= most;
    this.#content = wanted ? Buffer.allocUnsafe(size) : undefined;
    if (this.#role === "file" && !wanted) this.#tooLarge(size);
  }

  #tooLarge(size: number): void {
    const stop = new ReadStop("too-large", `a tar entry of ${size} bytes`);
    if (!this.#refuse) throw stop;
    this.#refuse(this.#name, stop);
  }

  #fill(chunk: Uint8Array, at: number): number {
    const taken = Math.min(this.#left, chunk.length - at);
    this.#content?.set(chunk.subarray(at, at + taken), this.#filled);
    this.#filled += taken;
    this.#left -= taken;
    return taken;
  }

  #finish(): TarEntry | undefined {
    const content = this.#content!;
    const name = this.#name;
    this.#content = undefined;
    if (this.#role === "file") this.#longName = undefined;
    else if (this.#role === "gnu-name") this.#longName = content.toString("utf8").replace(/\0+$/, "");
    else this.#longName = /\d+ path=([^\n]*)\n/.exec(content.toString("utf8"))?.[1] ?? this.#longName;
    return this.#role === "file" ? { name, content } : undefined;
  }

  /** Throws ReadStop `truncated` when an entry is not whole. */
  end(): void {
    if (!this.#ended && (this.#left > 0 || this.#headerFilled > 0))
      throw new ReadStop("truncated", "a tar archive");
  }
}

function text(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return bytes.toString("utf8", 0, end < 0 ? bytes.length : end);
}

function nameOf(header: Buffer): string {
  const prefix = text(header.subarray(345, 500));
  const name = text(header.subarray(0, 100));
  return prefix === "" || !isTar(header) ? name : `${prefix}/${name}`;
}

function sizeOf(header: Buffer): number {
  const octal = text(header.subarray(124, 136)).trim();
  if (!/^[0-7]{1,12}$/.test(octal)) throw new ReadStop("truncated", "a tar header");
  return Number.parseInt(octal, 8);
}
