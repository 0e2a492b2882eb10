/** Content-Transfer-Encodings, decoded tolerantly and in slices. */

const SLICE = 57_000;

/** The bytes of a part; reading it again begins again. */
export function* decodeBody(bytes: Buffer, start: number, end: number, encoding: string): Generator<Buffer> {
  if (encoding === "base64") yield* decodeBase64(bytes, start, end);
  else if (encoding === "quoted-printable") yield decodeQuotedPrintable(bytes, start, end);
  else if (end > start) yield bytes.subarray(start, end);
}

/** Blanks, missing padding and stray characters are passed over. */
function* decodeBase64(bytes: Buffer, start: number, end: number): Generator<Buffer> {
  let carry = "";
  for (let at = start; at < end; at += SLICE) {
    const text =
      carry + bytes.toString("latin1", at, Math.min(end, at + SLICE)).replace(/[^A-Za-z0-9+/]+/g, "");
    const last = at + SLICE >= end;
    const whole = last ? text.length : text.length & ~3;
    carry = text.slice(whole);
    if (whole > 0) yield Buffer.from(text.slice(0, whole), "base64");
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
