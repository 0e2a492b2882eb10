/** The schema as data: the keys at a path, and whether a running daemon takes over a changed value. */
import { configSchema, NEEDS_RESTART, UNITS } from "./schema.ts";

type Shape = Readonly<Record<string, unknown>>;

/** The schema inside defaults and options. */
export function unwrap(schema: unknown): unknown {
  let inner = schema;
  for (;;) {
    const definition = (inner as { def?: { innerType?: unknown; in?: unknown } } | undefined)?.def;
    const next = definition?.innerType ?? definition?.in;
    if (next === undefined) return inner;
    inner = next;
  }
}

/** The keys of a table, of a list of tables, or undefined for a single value. */
export function shapeOf(schema: unknown): Shape | undefined {
  const inner = unwrap(schema) as { shape?: Shape; element?: unknown };
  if (inner.shape) return inner.shape;
  return inner.element === undefined ? undefined : (unwrap(inner.element) as { shape?: Shape }).shape;
}

/** The keys that the schema knows at a path. */
export function keysAt(path: readonly PropertyKey[]): string[] {
  let schema: unknown = configSchema;
  for (const key of path) if (typeof key !== "number") schema = shapeOf(schema)?.[String(key)];
  return Object.keys(shapeOf(schema) ?? {});
}

/** Why a schema's value is read at start only; undefined when a reload applies it. */
export function restartReasonOf(schema: unknown): string | undefined {
  for (let at = schema; at !== undefined; ) {
    const found = NEEDS_RESTART.get(at as Parameters<typeof NEEDS_RESTART.get>[0]);
    if (found) return found.why;
    const { innerType, in: input } = (at as { def?: { innerType?: unknown; in?: unknown } }).def ?? {};
    at = innerType ?? input;
  }
  return undefined;
}

/** The same of a dotted path, `smtp.listen`; a key in a table that needs a restart needs one, too. */
export function restartReason(path: string): string | undefined {
  let schema: unknown = configSchema;
  for (const key of path.split(".")) {
    schema = shapeOf(schema)?.[key];
    if (schema === undefined) return undefined;
    const why = restartReasonOf(schema);
    if (why !== undefined) return why;
  }
  return undefined;
}

/** The unit of a number at a dotted path, `smtp.max_message_size`; undefined for a plain number. */
export function unitOf(path: string): "size" | "duration" | undefined {
  let schema: unknown = configSchema;
  for (const key of path.split(".")) {
    schema = shapeOf(schema)?.[key];
    if (schema === undefined) return undefined;
  }
  return UNITS.get(schema as Parameters<typeof UNITS.get>[0])?.unit;
}

/** Every key, dotted; those of lists of tables as `feed.name`. */
export function allKeys(): string[] {
  return Object.entries(configSchema.shape).flatMap(([name, schema]) => {
    const shape = shapeOf(schema);
    return shape ? Object.keys(shape).map((key) => `${name}.${key}`) : [name];
  });
}
