/** UTF-16 reports become UTF-8 before they are tokenized; every other encoding keeps its ASCII and is read as it is. */
import { TextDecoder } from "node:util";
import type { WarningList } from "../../model/outcome.ts";

/** The chunks of a document as UTF-8 or an encoding that keeps ASCII, without a byte order mark. */
export function* xmlBytes(chunks: Iterable<Uint8Array>, warnings: WarningList): Generator<Buffer> {
  let head: Buffer | undefined = Buffer.alloc(0);
  let decoder: TextDecoder | undefined;
  for (const chunk of chunks) {
    let bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    if (head) {
      bytes = head.length > 0 ? Buffer.concat([head, bytes]) : bytes;
      if (bytes.length < 4) {
        head = bytes;
        continue;
      }
      head = undefined;
      const start = sniff(bytes);
      if (start.utf16) decoder = new TextDecoder(start.utf16);
      bytes = bytes.subarray(start.skip);
    }
    if (decoder) bytes = Buffer.from(decoder.decode(bytes, { stream: true }));
    if (bytes.length > 0) yield bytes;
  }
  if (head && head.length > 0) yield head;
  const left = decoder ? Buffer.from(decoder.decode()) : undefined;
  if (left && left.length > 0) {
    warnings.add("encoding-repaired", "UTF-16 that ends in the middle");
    yield left;
  }
}

function sniff(bytes: Buffer): { readonly skip: number; readonly utf16: "utf-16le" | "utf-16be" | null } {
  const [a, b, c, d] = bytes;
  if (a === 0xef && b === 0xbb && c === 0xbf) return { skip: 3, utf16: null };
  if (a === 0xff && b === 0xfe) return { skip: 2, utf16: "utf-16le" };
  if (a === 0xfe && b === 0xff) return { skip: 2, utf16: "utf-16be" };
  if (a === 0x3c && b === 0 && d === 0) return { skip: 0, utf16: "utf-16le" };
  if (a === 0 && b === 0x3c && c === 0) return { skip: 0, utf16: "utf-16be" };
  return { skip: 0, utf16: null };
}
