/** What some bytes are, by their content; labels only break ties. */
import { isTar } from "./tar.ts";

export type Content =
  | "empty"
  | "gzip"
  | "zip"
  | "zlib"
  | "tar"
  | "packed"
  | "xml"
  | "markup"
  | "json"
  | "html"
  | "mail"
  | "other";

/** Bytes that `sniff` wants to see. */
export const SNIFFED = 4096;

/** bzip2, xz, 7z, rar, zstd, compress: known, and not opened. */
const PACKED = ["BZh", "\xfd7zXZ", "7z\xbc\xaf\x27\x1c", "Rar!", "\x28\xb5\x2f\xfd", "\x1f\x9d"];

/** The kind of content that begins with `head`. */
export function sniff(head: Buffer): Content {
  if (head.length === 0) return "empty";
  const [a, b] = head;
  if (a === 0x1f && b === 0x8b) return "gzip";
  if (a === 0x50 && b === 0x4b && (head[2] === 3 || head[2] === 5)) return "zip";
  if (a === 0x78 && (b === 0x01 || b === 0x5e || b === 0x9c || b === 0xda)) return "zlib";
  if (isTar(head)) return "tar";
  const start = head.toString("latin1", 0, 6);
  if (PACKED.some((magic) => start.startsWith(magic))) return "packed";
  return sniffText(readable(head));
}

/** The head as text, also where it is UTF-16. */
function readable(head: Buffer): string {
  const le = (head[0] === 0xff && head[1] === 0xfe) || (head[0] === 0x3c && head[1] === 0);
  const be = (head[0] === 0xfe && head[1] === 0xff) || (head[0] === 0 && head[1] === 0x3c);
  if (le) return head.toString("utf16le");
  if (be)
    return Buffer.from(head.subarray(0, head.length & ~1))
      .swap16()
      .toString("utf16le");
  return head.toString("latin1");
}

function sniffText(text: string): Content {
  const trimmed = text.replace(/^(?:\u00ef\u00bb\u00bf|\ufeff)?\s+|^(?:\u00ef\u00bb\u00bf|\ufeff)/, "");
  if (/^<(?:!doctype\s+html|html[\s>])/i.test(trimmed)) return "html";
  if (/^<(?:\?xml|[\w.-]{1,40}:?feedback[\s>]|feedback[\s>]|!--|!doctype)/i.test(trimmed)) return "xml";
  if (/^<[a-z]/i.test(trimmed)) return "markup";
  if (trimmed.startsWith("{")) return "json";
  if (
    /^(?:From [^\n]*\r?\n)?[!-9;-~]{1,100}:[ \t\r\n]/.test(text) &&
    /^(?:from|received|subject|to|date|message-id|mime-version|return-path|content-type|delivered-to|x-[\w-]+|arc-[\w-]+|dkim-signature):/im.test(
      text,
    )
  ) {
    return "mail";
  }
  if (/<(?:\?xml\s|(?:[\w.-]{1,40}:)?feedback[\s>])/i.test(text)) return "xml";
  return "other";
}
