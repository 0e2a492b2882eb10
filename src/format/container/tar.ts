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

/** Takes bytes as they come and gives entries as they are whole. */
export class TarReader {
  readonly #largest: number;
  #waiting: Uint8Array[] = [];
  #size = 0;
  /** Bytes without which nothing goes on, so that a long entry is joined once. */
  #need = BLOCK;
  #longName: string | undefined;
  #ended = false;

  /** @param largest bytes of one entry */
  constructor(largest: number) {
    this.#largest = largest;
  }

  /** Throws ReadStop: too-large, truncated. */
  *write(chunk: Uint8Array): Generator<TarEntry> {
    this.#waiting.push(chunk);
    this.#size += chunk.length;
    if (this.#size < this.#need) return;
    let rest = Buffer.concat(this.#waiting);
    while (!this.#ended) {
      this.#keep(rest, BLOCK);
      if (rest.length < BLOCK) return;
      const header = rest.subarray(0, BLOCK);
      if (header.every((byte) => byte === 0)) {
        this.#ended = true;
        return;
      }
      const size = sizeOf(header);
      if (size > this.#largest) throw new ReadStop("too-large", `a tar entry of ${size} bytes`);
      const whole = BLOCK + Math.ceil(size / BLOCK) * BLOCK;
      this.#keep(rest, whole);
      if (rest.length < whole) return;
      const content = Buffer.from(rest.subarray(BLOCK, BLOCK + size));
      const type = String.fromCharCode(header[156]!);
      const name = this.#longName ?? nameOf(header);
      rest = rest.subarray(whole);
      this.#longName = undefined;
      if (type === "L") this.#longName = content.toString("utf8").replace(/\0+$/, "");
      else if (type === "x") this.#longName = /\d+ path=([^\n]*)\n/.exec(content.toString("utf8"))?.[1];
      else if (type === "0" || type === "\0") yield { name, content };
    }
  }

  #keep(rest: Buffer, need: number): void {
    this.#waiting = [rest];
    this.#size = rest.length;
    this.#need = need;
  }

  /** Throws ReadStop `truncated` when an entry is not whole. */
  end(): void {
    if (!this.#ended && this.#size > 0) throw new ReadStop("truncated", "a tar archive");
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
