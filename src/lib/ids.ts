/** Ids of the queue, as OpenSMTPD has them: message id = 8 hex digits, envelope id = message id + 8 hex digits. */

/** Randomness, handed in; only daemon.ts and the programs make the real one. */
export type RandomBytes = (size: number) => Uint8Array;

const MESSAGE_ID = /^[0-9a-f]{8}$/;
const ENVELOPE_ID = /^[0-9a-f]{16}$/;

export function isMessageId(text: string): boolean {
  return MESSAGE_ID.test(text) && text !== "00000000";
}

export function isEnvelopeId(text: string): boolean {
  return ENVELOPE_ID.test(text) && !text.startsWith("00000000");
}

const BASE32 = "abcdefghijklmnopqrstuvwxyz234567";

/** The first `length` characters of the lower-case base32 form (RFC 4648 6) of `bytes`. */
export function base32(bytes: Uint8Array, length: number): string {
  let out = "";
  let bits = 0;
  let value = 0;
  for (const byte of bytes) {
    value = (value << 8) | byte;
    bits += 8;
    while (bits >= 5 && out.length < length) {
      bits -= 5;
      out += BASE32[(value >>> bits) & 31];
    }
    value &= (1 << bits) - 1;
  }
  return out;
}
