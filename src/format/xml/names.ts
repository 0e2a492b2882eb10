/** A table of element names, looked up by their bytes without making strings. */

/** Names with numbers from 1; 0 is any other name. */
export interface NameTable {
  /** The number of the local name in bytes [start, end), in any case. */
  find(bytes: Buffer, start: number, end: number): number;
  name(id: number): string;
  /** True when the bytes at `start` are exactly this name, in lower case. */
  isAt(id: number, bytes: Buffer, start: number): boolean;
}

const SLOTS = 1024;

interface Slot {
  readonly id: number;
  readonly bytes: Uint8Array;
  readonly next: Slot | undefined;
}

/** A table of these names; lower case, ASCII. */
export function nameTable(names: readonly string[]): NameTable {
  const encoded = names.map((name) => Uint8Array.from(Buffer.from(name)));
  const slots = new Array<Slot | undefined>(SLOTS).fill(undefined);
  for (const [i, bytes] of encoded.entries()) {
    const slot = slotOf(bytes[0]!, bytes.at(-1)!, bytes.length);
    slots[slot] = { id: i + 1, bytes, next: slots[slot] };
  }
  return {
    name: (id) => names[id - 1] ?? "",
    isAt(id, bytes, start) {
      const name = encoded[id - 1]!;
      for (let i = 0; i < name.length; i++) if (bytes[start + i] !== name[i]) return false;
      return true;
    },
    find(bytes, start, end) {
      const length = end - start;
      if (length === 0) return 0;
      let slot = slots[slotOf(lower(bytes[start]!), lower(bytes[end - 1]!), length)];
      for (; slot; slot = slot.next) if (isName(slot.bytes, bytes, start, length)) return slot.id;
      return 0;
    },
  };
}

function slotOf(first: number, last: number, length: number): number {
  return (length * 131 + first * 7 + last * 29) & (SLOTS - 1);
}

function isName(name: Uint8Array, bytes: Buffer, start: number, length: number): boolean {
  if (name.length !== length) return false;
  for (let i = 0; i < length; i++) {
    const byte = bytes[start + i]!;
    if (byte !== name[i] && lower(byte) !== name[i]) return false;
  }
  return true;
}

function lower(byte: number): number {
  return byte >= 0x41 && byte <= 0x5a ? byte + 32 : byte;
}
