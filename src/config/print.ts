/** The configuration in force as TOML, and what a reload changes. */
import type { Config } from "./schema.ts";

/** Keys that a running daemon cannot change. */
const NEEDS_RESTART = [
  /^hostname$/,
  /^(state|runtime)_directory$/,
  /^smtp\.listen$/,
  /^lmtp\.listen$/,
  /^control\./,
  /^feed/,
  /^log\.file$/,
  /^dns\./,
  /^dkim/,
  /^limits\.ingest_memory$/,
];

/** Every key in force. No value in a configuration is a secret: secrets are in files of their own. */
export function printConfig(config: Config): string {
  const lines: string[] = [];
  const tables: string[] = [];
  for (const [key, value] of Object.entries(config)) {
    if (key === "file" || value === undefined) continue;
    if (Array.isArray(value) && typeof value[0] === "object") {
      for (const item of value) tables.push(`\n[[${key}]]`, ...pairs(item as object));
    } else if (typeof value === "object" && !Array.isArray(value))
      tables.push(`\n[${key}]`, ...pairs(value as object));
    else lines.push(`${key} = ${toml(value)}`);
  }
  return `${[...lines, ...tables].join("\n")}\n`;
}

function pairs(table: object): string[] {
  return Object.entries(table)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key} = ${toml(value)}`);
}

function toml(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(toml).join(", ")}]`;
  if (typeof value === "object" && value !== null) {
    return `{ ${Object.entries(value)
      .map(([key, inner]) => `${key} = ${toml(inner)}`)
      .join(", ")} }`;
  }
  return JSON.stringify(value);
}

export interface ConfigChange {
  /** `path: old -> new` */
  readonly applied: readonly string[];
  readonly needsRestart: readonly string[];
}

/** What differs between two configurations, and what of it a running daemon takes over. */
export function diffConfig(before: Config, after: Config): ConfigChange {
  const old = flatten(before);
  const now = flatten(after);
  const applied: string[] = [];
  const needsRestart: string[] = [];
  for (const path of new Set([...old.keys(), ...now.keys()])) {
    if (path === "file" || old.get(path) === now.get(path)) continue;
    const line = `${path}: ${old.get(path) ?? "-"} -> ${now.get(path) ?? "-"}`;
    (NEEDS_RESTART.some((pattern) => pattern.test(path)) ? needsRestart : applied).push(line);
  }
  return { applied, needsRestart };
}

function flatten(config: Config): Map<string, string> {
  const flat = new Map<string, string>();
  const walk = (value: unknown, path: string): void => {
    if (typeof value === "object" && value !== null && !Array.isArray(value)) {
      for (const [key, inner] of Object.entries(value)) walk(inner, path === "" ? key : `${path}.${key}`);
    } else if (value !== undefined) flat.set(path, JSON.stringify(value));
  };
  walk(config, "");
  return flat;
}
