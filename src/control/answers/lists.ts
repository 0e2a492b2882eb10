/** Schemas of lists, from their descriptions: what may be asked, and what is answered. */
import { z } from "zod";
import type { Field, Fields } from "../../model/lists/field.ts";
import type { Filter } from "../../model/lists/filter.ts";
import type { List } from "../../model/lists/list.ts";
import { LIMIT, TEXT, TIME, WAIT } from "../routes/schemas.ts";
import { ERROR_LINE } from "./common.ts";

function filterSchema({ type, values }: Filter): z.ZodType {
  if (type === "flag") return z.stringbool();
  if (type === "time" || type === "past") return TIME;
  return values === undefined ? TEXT : z.enum(values);
}

/** The query of a list: its filters, and which page. */
export function querySchema({ filters, cursor, store }: List) {
  const members = Object.entries(filters).map(([name, filter]) => [name, filterSchema(filter).optional()]);
  return z.strictObject({
    ...(Object.fromEntries(members) as Record<string, z.ZodOptional>),
    ...(store === "archive" ? WAIT : {}),
    limit: LIMIT,
    after: z.string().regex(cursor, "not a cursor of this list").optional(),
  });
}

const RFC3339 = z.iso.datetime();

function valueSchema({ type, values, members }: Field): z.ZodType {
  switch (type) {
    case "text":
      return values === undefined ? z.string() : z.enum(values);
    case "number":
      return z.number();
    case "time":
      return RFC3339;
    case "day":
      return z.iso.date();
    case "flag":
      return z.boolean();
    case "texts":
      return z.array(z.string());
    case "object":
      return objectSchema(members ?? {});
    case "objects":
      return z.array(objectSchema(members ?? {}));
    case "map":
      return z.record(z.string(), z.string());
    case "counts":
      return z.record(z.string(), z.union([z.number(), z.string()]));
    case "pairs":
      return z.array(z.tuple([z.string(), z.string()]));
  }
}

function fieldSchema(field: Field): z.ZodType {
  const value = valueSchema(field).meta({ description: field.help });
  const nullable = field.nullable ? value.nullable() : value;
  return field.optional ? nullable.optional() : nullable;
}

/** An object with exactly these fields, in their form on the wire. */
export function objectSchema(fields: Fields) {
  return z.strictObject(
    Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, fieldSchema(field)])),
  );
}

const END = z.strictObject({
  end: z.strictObject({
    count: z.int(),
    next: z.string().nullable(),
    unparsed: z.int().optional(),
    parsing: z.enum(["paused", "failing"]).optional(),
  }),
});

/** A line of the answer: a row, the end record, or an error record. */
export const lineSchema = ({ fields }: List) => z.union([objectSchema(fields), END, ERROR_LINE]);
