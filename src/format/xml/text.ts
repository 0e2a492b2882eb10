/** Character data of XML: bytes to text, with the repairs that real reports need. */
import { isUtf8 } from "node:buffer";
import { TextDecoder } from "node:util";
import type { WarningList } from "../../model/outcome.ts";

const AMP = 0x26;
const ENTITIES: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };
/** The longest reference that means something: `&#x10FFFF;`. */
const LONGEST_REFERENCE = 12;
const SINGLE_BYTE = /^(?:iso-?8859-?\d{1,2}|latin-?\d|windows-?125\d|cp-?125\d|koi8-[ru])$/i;

/** Bytes [start, end) as Latin-1; the short way into the engine, for it runs for every value. */
export function latin1(bytes: Buffer, start: number, end: number): string {
  return (bytes as Buffer & { latin1Slice(start: number, end: number): string }).latin1Slice(start, end);
}

/** Decodes character data. One for a document, told its declared encoding. */
export class XmlText {
  readonly #warnings: WarningList;
  #declared: TextDecoder | undefined;

  constructor(warnings: WarningList) {
    this.#warnings = warnings;
  }

  /** The encoding name of the XML declaration. Unknown names are noted and UTF-8 is tried. */
  declare(name: string): void {
    if (/^(?:utf-?8|us-?ascii|ascii|utf-?16(?:[lb]e)?)$/i.test(name)) return;
    if (SINGLE_BYTE.test(name)) {
      try {
        this.#declared = new TextDecoder(name.replace(/^cp-?/i, "windows-"));
        return;
      } catch {
        // a label that the decoder does not know: noted below
      }
    }
    this.#warnings.add("encoding-repaired", name);
  }

  /**
   * The text of bytes [start, end): references resolved, illegal control characters dropped, UTF-8 where it is
   * valid, else the declared encoding, else windows-1252.
   */
  decode(bytes: Buffer, start: number, end: number, cdata = false): string {
    let plain = true;
    let ascii = true;
    for (let i = start; i < end; i++) {
      const byte = bytes[i]!;
      if (byte >= 0x80) ascii = false;
      else if (
        byte === AMP ||
        (byte < 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) ||
        byte === 0x7f
      ) {
        plain = false;
      }
    }
    const text = ascii ? latin1(bytes, start, end) : this.#decodeWide(bytes.subarray(start, end));
    return plain ? text : this.#repair(text, cdata);
  }

  #decodeWide(bytes: Buffer): string {
    if (isUtf8(bytes)) {
      if (this.#declared)
        this.#warnings.add("encoding-repaired", "declared as one byte a character, is UTF-8");
      return bytes.toString("utf8");
    }
    if (this.#declared) return this.#declared.decode(bytes);
    this.#warnings.add("encoding-repaired", "not UTF-8");
    return new TextDecoder("windows-1252").decode(bytes);
  }

  #repair(text: string, cdata: boolean): string {
    const clean = text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/g, "");
    if (clean.length !== text.length) this.#warnings.add("control-characters");
    return clean.includes("&") && !cdata ? this.#references(clean) : clean;
  }

  #references(text: string): string {
    let out = "";
    let at = 0;
    for (;;) {
      const amp = text.indexOf("&", at);
      if (amp < 0) return out + text.slice(at);
      out += text.slice(at, amp);
      const semicolon = text.indexOf(";", amp);
      const name =
        semicolon > 0 && semicolon - amp <= LONGEST_REFERENCE ? text.slice(amp + 1, semicolon) : "";
      const value = name === "" ? undefined : resolve(name);
      if (value === undefined) {
        this.#warnings.add("xml-repaired", "a bare &");
        out += "&";
        at = amp + 1;
      } else {
        out += value;
        at = semicolon + 1;
      }
    }
  }
}

function resolve(name: string): string | undefined {
  if (Object.hasOwn(ENTITIES, name)) return ENTITIES[name];
  const match = /^#(?:x([0-9a-f]{1,6})|(\d{1,7}))$/i.exec(name);
  if (!match) return undefined;
  const code = match[1] === undefined ? Number(match[2]) : Number.parseInt(match[1], 16);
  const legal =
    code === 9 ||
    code === 10 ||
    code === 13 ||
    (code >= 0x20 && code <= 0xd7ff) ||
    (code >= 0xe000 && code <= 0x10ffff);
  return legal ? String.fromCodePoint(code) : "";
}
