/** mailreportd.conf.example, written from the schema: every key with its description and default. */
import type { z } from "zod";
import { configSchema } from "./schema.ts";
import { restartReasonOf, unwrap } from "./shape.ts";

interface Described {
  readonly description?: string;
  readonly def?: { readonly defaultValue?: unknown; readonly innerType?: Described; readonly in?: Described };
}

const HEAD = `# Configuration of mailreportd, in TOML. Copy it to /etc/mailreportd/mailreportd.conf and uncomment what you change;
# what stands here are the defaults. Check it with 'mailreportd -n'. Relative paths start at this file, those of
# keys at state_directory, those of sockets at runtime_directory. Sizes: "64K", "25M". Durations: "90s", "1h30m", "14d".
`;

/** Entries of lists of tables, as an operator may begin with. */
const LISTS: Readonly<Record<string, readonly string[]>> = {
  recipient: [
    "# [[recipient]]",
    '# address = "dmarc@example.org"',
    '# kinds = ["dmarc"]',
    "#",
    "# [[recipient]]",
    '# address = "tls@example.org"',
    '# kinds = ["tls"]',
  ],
  dkim: ["# [[dkim]]", '# selector = "reports2026"', '# key_file = "dkim.pem"', '# generate = "rsa"'],
  feed: [
    "# [[feed]]",
    '# name = "postfix"',
    '# type = "ndjson"',
    '# socket = "feed.sock"',
    '# group = "mailreport-feed"',
  ],
};

function wrapped(text: string, prefix: string): string[] {
  const lines: string[] = [];
  let line = prefix;
  for (const word of text.split(" ")) {
    if (line.length + word.length > 100 && line !== prefix) {
      lines.push(line.trimEnd());
      line = prefix;
    }
    line += `${word} `;
  }
  return [...lines, line.trimEnd()];
}

/** The words that a key takes, or that a list of words may hold; "" for any other key. */
function wordsOf(schema: Described): string {
  const inner = unwrap(schema) as { options?: readonly unknown[]; element?: unknown };
  const element = inner.element === undefined ? undefined : (unwrap(inner.element) as typeof inner);
  const options = (element ?? inner).options?.filter((each) => typeof each === "string") ?? [];
  if (options.length < 2) return "";
  return `${element ? "Any of" : "One of"} ${options.map((each) => JSON.stringify(each)).join(", ")}.`;
}

function descriptionOf(schema: Described): string {
  const text = schema.description ?? schema.def?.innerType?.description ?? schema.def?.in?.description ?? "";
  const restart = restartReasonOf(schema) === undefined ? "" : "A change needs a restart.";
  return [text, wordsOf(schema), restart].filter(Boolean).join(" ");
}

/** The default as written; undefined when there is none. */
function defaultOf(schema: Described): unknown {
  for (let at: Described | undefined = schema; at; at = at.def?.innerType ?? at.def?.in) {
    if (at.def && "defaultValue" in at.def) return at.def.defaultValue;
  }
  return undefined;
}

function keyLines(name: string, schema: Described): string[] {
  const value = defaultOf(schema);
  const lines = wrapped(descriptionOf(schema), "# ");
  return [...lines, value === undefined ? `# ${name} =` : `# ${name} = ${toml(value)}`, ""];
}

function toml(value: unknown): string {
  return Array.isArray(value) ? `[${value.map(toml).join(", ")}]` : JSON.stringify(value);
}

/** The whole text. */
export function exampleConfig(): string {
  const lines = [HEAD];
  const tables: string[] = [];
  for (const [name, schema] of Object.entries(configSchema.shape) as [string, Described & z.ZodType][]) {
    const inner = unwrap(schema) as {
      shape?: Record<string, Described>;
      element?: { shape: Record<string, Described> };
    };
    if (inner.element) {
      tables.push(`# ---- ${descriptionOf(schema)}`, "#");
      for (const [key, each] of Object.entries(inner.element.shape))
        tables.push(...wrapped(`${key}: ${descriptionOf(each)}`, "#   "));
      tables.push("#", ...(LISTS[name] ?? []), "");
    } else if (inner.shape) {
      tables.push(`# ---- ${descriptionOf(schema)}`, `[${name}]`, "");
      for (const [key, each] of Object.entries(inner.shape)) tables.push(...keyLines(key, each));
    } else lines.push(...keyLines(name, schema));
  }
  return `${[...lines, ...tables].join("\n").trimEnd()}\n`;
}

/** One table of the configuration (null: the keys before the first one), its keys with description and default. */
export interface DescribedTable {
  readonly table: string | null;
  /** A list of tables, `[[name]]`. */
  readonly list: boolean;
  readonly about: string;
  readonly keys: readonly {
    readonly key: string;
    readonly text: string;
    readonly value: string | undefined;
  }[];
}

/** All keys, for the manual. */
export function describedKeys(): DescribedTable[] {
  const keyOf = ([key, schema]: [string, Described]) => {
    const value = defaultOf(schema);
    return { key, text: descriptionOf(schema), value: value === undefined ? undefined : toml(value) };
  };
  const general: DescribedTable["keys"][number][] = [];
  const tables: DescribedTable[] = [];
  for (const [name, schema] of Object.entries(configSchema.shape) as [string, Described & z.ZodType][]) {
    const inner = unwrap(schema) as {
      shape?: Record<string, Described>;
      element?: { shape: Record<string, Described> };
    };
    const shape = inner.element?.shape ?? inner.shape;
    if (!shape) general.push(keyOf([name, schema]));
    else {
      const about = descriptionOf(schema);
      tables.push({
        table: name,
        list: inner.element !== undefined,
        about,
        keys: Object.entries(shape).map(keyOf),
      });
    }
  }
  return [{ table: null, list: false, about: "", keys: general }, ...tables];
}
