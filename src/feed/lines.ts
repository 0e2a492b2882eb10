/** Cuts a stream of bytes into lines; a line that is too long is skipped to its end, not kept. */

/** Longest line of a feed, bytes. */
export const LONGEST_LINE = 65_536;

export interface Line {
  /** Counted from 1 in the stream. */
  readonly number: number;
  /** null: longer than `LONGEST_LINE`. */
  readonly text: string | null;
}

const LF = 10;

export class LineSplitter {
  #number = 0;
  #parts: Uint8Array[] = [];
  #size = 0;

  /** The lines that end in this chunk. */
  push(chunk: Uint8Array): Line[] {
    const lines: Line[] = [];
    let from = 0;
    for (let to = chunk.indexOf(LF); to >= 0; to = chunk.indexOf(LF, from)) {
      lines.push(this.#line(chunk.subarray(from, to)));
      from = to + 1;
    }
    this.#keep(chunk.subarray(from));
    return lines;
  }

  /** The last line, when it does not end with a newline. */
  end(): Line[] {
    return this.#size === 0 ? [] : [this.#line(new Uint8Array(0))];
  }

  #keep(rest: Uint8Array): void {
    this.#size += rest.byteLength;
    if (this.#size > LONGEST_LINE) this.#parts = [];
    else if (rest.byteLength > 0) this.#parts.push(Uint8Array.from(rest));
  }

  #line(last: Uint8Array): Line {
    const size = this.#size + last.byteLength;
    const parts = this.#parts;
    this.#parts = [];
    this.#size = 0;
    this.#number++;
    if (size > LONGEST_LINE) return { number: this.#number, text: null };
    const bytes = parts.length === 0 ? last : Buffer.concat([...parts, last], size);
    return { number: this.#number, text: Buffer.from(bytes.buffer, bytes.byteOffset, size).toString("utf8") };
  }
}
