/** Elements of other namespaces (RFC 9990 3.2): kept as XML text, bounded, with the prefixes that they need. */

/** Collects one such element with all that is in it. */
export class Extension {
  readonly #most: number;
  readonly #prefixes: ReadonlyMap<string, string>;
  readonly #names: string[] = [];
  #xml = "";
  #overflow = false;

  /**
   * @param most characters kept
   * @param prefixes declared around it, see `prefixesOf`
   */
  constructor(most: number, prefixes: ReadonlyMap<string, string>) {
    this.#most = most;
    this.#prefixes = prefixes;
  }

  open(name: string, attributes: string): void {
    if (!this.#overflow)
      this.#add(`<${[name, this.#declaration(name), attributes].filter(Boolean).join(" ")}>`);
    this.#names.push(name);
  }

  text(text: string): void {
    this.#add(text.replace(/[&<]/g, (c) => (c === "&" ? "&amp;" : "&lt;")));
  }

  /** True when this was the end of all of it. */
  close(): boolean {
    this.#add(`</${this.#names.pop() ?? ""}>`);
    return this.#names.length === 0;
  }

  /** The limit is reached: more text would be dropped. */
  get isFull(): boolean {
    return this.#overflow;
  }

  /** The whole; undefined when it is longer than allowed. */
  get xml(): string | undefined {
    return this.#overflow ? undefined : this.#xml;
  }

  #add(piece: string): void {
    if (this.#overflow) return;
    this.#overflow = this.#xml.length + piece.length > this.#most;
    this.#xml = this.#overflow ? "" : this.#xml + piece;
  }

  /** The declaration of the name's prefix, unless it stands on an element around it. */
  #declaration(name: string): string {
    const colon = name.indexOf(":") + 1;
    if (colon < 2 || this.#names.some((outer) => outer.startsWith(name.slice(0, colon)))) return "";
    return this.#prefixes.get(name.slice(0, colon - 1)) ?? "";
  }
}

const DECLARATION = /(?:^|\s)(xmlns:([\w.-]{1,100})\s{0,10}=\s{0,10}(?:"[^"<]{0,1000}"|'[^'<]{0,1000}'))/g;

/** Prefix → its declaration, out of the attributes of the root element. */
export function prefixesOf(attributes: string): ReadonlyMap<string, string> {
  return new Map([...attributes.matchAll(DECLARATION)].map((match) => [match[2]!, match[1]!]));
}
