/** The configuration in force as TOML that the daemon accepts. */
import { exactDuration, exactSize } from "../lib/units.ts";
import type { Config } from "./schema.ts";
import { unitOf } from "./shape.ts";

/** Every key in force. No value in a configuration is a secret: secrets are in files of their own. */
export function printConfig(config: Config): string {
  const lines: string[] = [];
  const tables: string[] = [];
  for (const [key, value] of Object.entries(config)) {
    if (key === "file" || value === undefined) continue;
    if (Array.isArray(value) && typeof value[0] === "object") {
      for (const item of value) tables.push(`\n[[${key}]]`, ...pairs(key, item as object));
    } else if (typeof value === "object" && !Array.isArray(value))
      tables.push(`\n[${key}]`, ...pairs(key, value as object));
    else lines.push(`${key} = ${valueText(key, value)}`);
  }
  return `${[...lines, ...tables].join("\n")}\n`;
}

function pairs(table: string, content: object): string[] {
  return Object.entries(content)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key} = ${valueText(`${table}.${key}`, value)}`);
}

const WRITERS = { size: exactSize, duration: exactDuration } as const;

/** The value at a dotted path as it is written in a configuration: durations `"5m"`, sizes `"25M"`. */
export function valueText(path: string, value: unknown): string {
  const unit = unitOf(path);
  if (unit === undefined) return toml(value);
  const write = (one: unknown): unknown => (typeof one === "number" ? WRITERS[unit](one) : one);
  return toml(Array.isArray(value) ? value.map(write) : write(value));
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
