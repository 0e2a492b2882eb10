/** The configuration in force as TOML. */
import type { Config } from "./schema.ts";

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
