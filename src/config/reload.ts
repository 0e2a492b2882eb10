/** What a reload changes: keys that a running daemon takes over, and keys that are read at start only. */
import { deepFreeze } from "./freeze.ts";
import { valueText } from "./print.ts";
import type { Config } from "./schema.ts";
import { restartReason } from "./shape.ts";

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
    (restartReason(path) === undefined ? applied : needsRestart).push(line);
  }
  return { applied, needsRestart };
}

/** The configuration in force after a reload: `after`, with the values of `before` for keys that need a restart. */
export function inForce(before: Config, after: Config): Config {
  const merge = (old: unknown, now: unknown, path: string): unknown => {
    if (path !== "" && restartReason(path) !== undefined) return old;
    if (!isTable(old) || !isTable(now)) return now;
    const merged: Record<string, unknown> = {};
    for (const key of new Set([...Object.keys(old), ...Object.keys(now)])) {
      const value = merge(old[key], now[key], path === "" ? key : `${path}.${key}`);
      if (value !== undefined) merged[key] = value;
    }
    return merged;
  };
  return deepFreeze(merge(before, after, "") as Config);
}

function isTable(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function flatten(config: Config): Map<string, string> {
  const flat = new Map<string, string>();
  const walk = (value: unknown, path: string): void => {
    if (isTable(value)) {
      for (const [key, inner] of Object.entries(value)) walk(inner, path === "" ? key : `${path}.${key}`);
    } else if (value !== undefined) flat.set(path, valueText(path, value));
  };
  walk(config, "");
  return flat;
}
