/** Whole numbers of variable length (unsigned LEB128): seven bits a byte, the least significant first. */

/** Collects numbers in a growing buffer. */
export class NumberWriter {
  #bytes: Uint8Array;
  #length = 0;

  /** @param size bytes at the begin */
  constructor(size = 256) {
    this.#bytes = new Uint8Array(size);
  }

  /** Bytes so far. */
  get length(): number {
    return this.#length;
  }

  /** @param value a whole number, 0 to 2^53 - 1 */
  write(value: number): void {
    if (this.#length + LONGEST > this.#bytes.length) this.#grow();
    let rest = value;
    while (rest >= 0x80) {
      this.#bytes[this.#length++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#bytes[this.#length++] = rest;
  }

  /** A copy of all bytes, of their size; the next number is the first one again. */
  take(): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(this.#bytes.subarray(0, this.#length));
    this.#length = 0;
    return bytes;
  }

  clear(): void {
    this.#length = 0;
  }

  #grow(): void {
    const larger = new Uint8Array(this.#bytes.length * 2);
    larger.set(this.#bytes);
    this.#bytes = larger;
  }
}

/** Bytes of the largest number. */
const LONGEST = 8;

/** Reads numbers one after the other. */
export class NumberReader {
  #bytes: Uint8Array = new Uint8Array(0);
  #at = 0;

  /** Begins with `bytes`. */
  open(bytes: Uint8Array): void {
    this.#bytes = bytes;
    this.#at = 0;
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length;
  }

  /** The next number; 0 beyond the end. */
  read(): number {
    let byte = this.#bytes[this.#at++] ?? 0;
    if (byte < 0x80) return byte;
    let value = byte & 0x7f;
    let unit = 0x80;
    do {
      byte = this.#bytes[this.#at++] ?? 0;
      value += (byte & 0x7f) * unit;
      unit *= 0x80;
    } while (byte >= 0x80);
    return value;
  }
}
