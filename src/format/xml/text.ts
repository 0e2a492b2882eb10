/** Character data of XML: bytes to text, with the corrections that real reports need. */
import { isUtf8 } from "node:buffer";
import { TextDecoder } from "node:util";
import type { WarningList } from "../../model/outcome.ts";
import { COST, type Effort } from "./effort.ts";

const ENTITIES: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };
/** The longest reference that means something: `&#x0010FFFF;`. */
const LONGEST_REFERENCE = 12;
const UNICODE = /^(?:utf-?8|us-?ascii|ascii|utf-?16(?:[lb]e)?|ucs-?2)$/i;
/** Encodings in which the bytes of `<`, `>` and `&` are never a part of another character. */
const ASCII_SAFE =
  /^(?:iso-?8859-?\d{1,2}|latin-?\d|(?:windows|cp)-?125\d|koi8-[ru]|gb2312|gbk|gb18030|big5|shift_jis|euc-(?:jp|kr))$/i;
const WINDOWS_1252 = new TextDecoder("windows-1252");

/** Classes of bytes: plain, to be decoded (1), or to be handled one by one (2: `&`, CR and bytes that XML does not allow). */
const CARE = Uint8Array.from({ length: 256 }, (_, byte) => {
  if (byte >= 0x80) return 1;
  return byte === 0x26 || byte === 0x7f || (byte < 0x20 && byte !== 0x09 && byte !== 0x0a) ? 2 : 0;
});

/** Values repeat from record to record: the last ones are remembered by a hash of their bytes. */
const remembered: string[] = new Array<string>(2048).fill("");
const LONGEST_REMEMBERED = 64;

/** The plain ASCII text of bytes [start, end). */
function ascii(bytes: Buffer, start: number, end: number, hash: number): string {
  const length = end - start;
  if (length > LONGEST_REMEMBERED) return bytes.toString("latin1", start, end);
  const known = remembered[hash & 2047]!;
  if (known.length === length) {
    let i = 0;
    while (i < length && known.charCodeAt(i) === bytes[start + i]) i++;
    if (i === length) return known;
  }
  const text = bytes.toString("latin1", start, end);
  remembered[hash & 2047] = text;
  return text;
}

/** Decodes character data. One for a document, told its declared encoding. */
export class XmlText {
  readonly #warnings: WarningList;
  readonly #effort: Effort;
  #declared: TextDecoder | undefined;

  constructor(warnings: WarningList, effort: Effort) {
    this.#warnings = warnings;
    this.#effort = effort;
  }

  /** The encoding name of the XML declaration. Unknown names are noted and UTF-8 is tried. */
  declare(name: string): void {
    if (UNICODE.test(name)) return;
    if (ASCII_SAFE.test(name)) {
      try {
        this.#declared = new TextDecoder(name.replace(/^(?:cp|windows)-?/i, "windows-"));
        return;
      } catch {
        // a label that the decoder does not know: noted below
      }
    }
    this.#warnings.add("encoding-repaired", name);
  }

  /**
   * The text of bytes [start, end): UTF-8 where it is valid, else in the declared encoding, else windows-1252. Line
   * ends are LF (XML 2.11), illegal control characters are dropped.
   * @param references resolve them: not in CDATA
   */
  decode(bytes: Buffer, start: number, end: number, references: boolean): string {
    let care = 0;
    let hash = 0;
    for (let i = start; i < end; i++) {
      const byte = bytes[i]!;
      care |= CARE[byte]!;
      hash = (Math.imul(hash, 31) + byte) | 0;
    }
    if (care === 0) return ascii(bytes, start, end, hash);
    const text =
      (care & 1) === 0 ? bytes.toString("latin1", start, end) : this.#decodeWide(bytes, start, end);
    return (care & 2) === 0 ? text : this.#repair(text, references);
  }

  #decodeWide(bytes: Buffer, start: number, end: number): string {
    const text = bytes.toString("utf8", start, end);
    if (!text.includes("\ufffd") || isUtf8(bytes.subarray(start, end))) {
      if (this.#declared) this.#warnings.add("encoding-repaired", "declared as another encoding, is UTF-8");
      return text;
    }
    this.#effort.spend(COST.repair);
    if (this.#declared) return this.#declared.decode(bytes.subarray(start, end));
    this.#warnings.add("encoding-repaired", "not UTF-8");
    return WINDOWS_1252.decode(bytes.subarray(start, end));
  }

  #repair(text: string, references: boolean): string {
    const lines = text.includes("\r") ? text.replace(/\r\n?/g, "\n") : text;
    const clean = lines.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]+/g, "");
    if (clean.length !== lines.length) this.#warnings.add("control-characters");
    return references && clean.includes("&") ? this.#references(clean) : clean;
  }

  #references(text: string): string {
    let out = "";
    let at = 0;
    for (let amp = text.indexOf("&"); amp >= 0; amp = text.indexOf("&", at)) {
      const semicolon = text.slice(amp + 1, amp + LONGEST_REFERENCE).indexOf(";");
      const value = semicolon > 0 ? resolve(text.slice(amp + 1, amp + 1 + semicolon)) : undefined;
      if (value === undefined) {
        this.#effort.spend(COST.repair);
        this.#warnings.add("xml-repaired", "a bare &");
        out += text.slice(at, amp + 1);
        at = amp + 1;
      } else {
        this.#effort.spend(COST.reference);
        if (value === "") this.#warnings.add("control-characters");
        out += text.slice(at, amp) + value;
        at = amp + 2 + semicolon;
      }
    }
    return out + text.slice(at);
  }
}

/** The character that a reference names, "" when XML does not allow it, undefined when it is no reference. */
function resolve(name: string): string | undefined {
  if (Object.hasOwn(ENTITIES, name)) return ENTITIES[name];
  const match = /^#(?:x([0-9a-f]{1,8})|(\d{1,9}))$/i.exec(name);
  if (!match) return undefined;
  const code = match[1] === undefined ? Number(match[2]) : Number.parseInt(match[1], 16);
  const legal =
    code === 9 ||
    code === 10 ||
    code === 13 ||
    (code >= 0x20 && code <= 0xd7ff) ||
    (code >= 0xe000 && code <= 0x10ffff && code !== 0xfffe && code !== 0xffff);
  return legal ? String.fromCodePoint(code) : "";
}
