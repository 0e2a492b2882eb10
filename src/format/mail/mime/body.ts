/** Content-Transfer-Encodings (RFC 2045 6), decoded tolerantly and in slices. */

const SLICE = 57_000;
/** Bytes that are compared with the label. */
const LOOKED_AT = 256;

export type Encoding = "base64" | "quoted-printable" | "none";

/**
 * The encoding that bytes [start, end) really have. The label counts unless the bytes contradict it: base64 has no
 * `<`, no `:` and no control characters, and a body that begins like an encoded container or report is encoded.
 */
export function encodingOf(bytes: Buffer, start: number, end: number, label: string): Encoding {
  const head = bytes.toString("latin1", start, Math.min(end, start + LOOKED_AT)).trimStart();
  if (label === "base64") return looksCoded(head) ? "base64" : "none";
  if (label === "quoted-printable") return "quoted-printable";
  // gzip, zip, `<?xml`, `<feedback`, the same behind a byte order mark, `{"`
  const magic = /^(?:H4sI|UEsD|PD94bWwg|PGZlZWRiYWNr|77u\/PD94|eyJ|ew0KI|ewog)[A-Za-z0-9+/\r\n]{16}/;
  return magic.test(head) ? "base64" : "none";
}

/** At most a tenth of foreign characters, as lists and scanners leave them. */
function looksCoded(head: string): boolean {
  const foreign = head.replace(/[A-Za-z0-9+/=\s]+/g, "").length;
  return foreign * 10 <= head.length;
}

/** The bytes of a part; each iteration starts at the begin. */
export function* decodeBody(
  bytes: Buffer,
  start: number,
  end: number,
  encoding: Encoding,
): Generator<Buffer> {
  if (encoding === "base64") yield* decodeBase64(bytes, start, end);
  else if (encoding === "quoted-printable") yield decodeQuotedPrintable(bytes, start, end);
  else if (end > start) yield bytes.subarray(start, end);
}

/** What a character stands for: six bits, the end of a run (`=`), or nothing. */
const PADDING = -2;
const SEXTET = Int8Array.from({ length: 256 }, () => -1);
for (const [i, c] of [..."ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"].entries()) {
  SEXTET[c.charCodeAt(0)] = i;
}
SEXTET["=".charCodeAt(0)] = PADDING;

/**
 * Blanks, missing padding and stray characters are skipped; behind padding a new run of characters begins, as in a
 * body that was put together from pieces.
 */
function* decodeBase64(bytes: Buffer, start: number, end: number): Generator<Buffer> {
  let bits = 0;
  let held = 0;
  for (let at = start; at < end; at += SLICE) {
    const stop = Math.min(end, at + SLICE);
    const out = Buffer.allocUnsafe((((stop - at) * 3) >> 2) + 1);
    let length = 0;
    for (let i = at; i < stop; i++) {
      const sextet = SEXTET[bytes[i]!]!;
      if (sextet < 0) {
        if (sextet === PADDING) bits = 0;
        continue;
      }
      held = ((held << 6) | sextet) & 0xffff;
      bits += 6;
      if (bits >= 8) {
        bits -= 8;
        out[length++] = held >> bits;
      }
    }
    if (length > 0) yield out.subarray(0, length);
  }
}

function hexValue(byte: number | undefined): number {
  if (byte === undefined) return -1;
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

function decodeQuotedPrintable(bytes: Buffer, start: number, end: number): Buffer {
  const out = Buffer.allocUnsafe(end - start);
  let length = 0;
  for (let i = start; i < end; i++) {
    const byte = bytes[i]!;
    if (byte !== 0x3d) {
      out[length++] = byte;
      continue;
    }
    const high = hexValue(bytes[i + 1]);
    const low = hexValue(bytes[i + 2]);
    if (i + 2 < end && high >= 0 && low >= 0) {
      out[length++] = high * 16 + low;
      i += 2;
      continue;
    }
    let next = i + 1; // a soft line break, perhaps with blanks before its end
    while (next < end && (bytes[next] === 0x20 || bytes[next] === 0x09)) next++;
    if (bytes[next] === 0x0d) next++;
    if (bytes[next] === 0x0a) i = next;
    else out[length++] = byte;
  }
  return out.subarray(0, length);
}
