/**
 * The fields of lists: what each is called, its type and meaning. Types of rows, the answers of the control socket and
 * the columns of an export derive from them. Inside the program times are epoch seconds; on the wire they are RFC 3339.
 */
import { iso } from "../../lib/units.ts";

/**
 * time: epoch seconds UTC. day: the begin of a UTC day. flag: true or false. texts: a list of texts.
 * object, objects: with members. map: texts by name. counts: numbers and short texts by name. pairs: a list of
 * [name, value].
 */
export type FieldType =
  | "text"
  | "number"
  | "time"
  | "day"
  | "flag"
  | "texts"
  | "object"
  | "objects"
  | "map"
  | "counts"
  | "pairs";

/** T: the value inside the program. W: on the wire. */
export interface Field<T = unknown, W = unknown> {
  readonly type: FieldType;
  readonly nullable: boolean;
  /** The meaning, with the unit. */
  readonly help: string;
  /** All the words that a text may be. */
  readonly values?: readonly string[];
  /** Of an object. */
  readonly members?: Fields;
  /** A member that an object may lack. */
  readonly optional?: true;
  /** Never set: they carry the types. */
  readonly value?: T;
  readonly wire?: W;
}

/** In their order. */
export type Fields = Readonly<Record<string, Field>>;

type Optional<F extends Fields> = { [K in keyof F]: F[K] extends { optional: true } ? K : never }[keyof F];
type ValueOf<F> = F extends Field<infer T, unknown> ? T : never;
type WireValueOf<F> = F extends Field<unknown, infer W> ? W : never;

/** A row inside the program, with exactly these fields. */
export type Row<F extends Fields> = {
  readonly [K in Exclude<keyof F, Optional<F>>]: ValueOf<F[K]>;
} & { readonly [K in Optional<F>]?: ValueOf<F[K]> };

/** A row on the wire. */
export type WireRow<F extends Fields> = {
  readonly [K in Exclude<keyof F, Optional<F>>]: WireValueOf<F[K]>;
} & { readonly [K in Optional<F>]?: WireValueOf<F[K]> };

const make = <T, W = T>(type: FieldType, help: string): Field<T, W> => ({ type, nullable: false, help });

export const text = (help: string): Field<string, string> => make("text", help);
/** One of some words. */
export const word = <const V extends readonly string[]>(
  values: V,
  help: string,
): Field<V[number], V[number]> => ({ ...make<V[number]>("text", help), values });
export const number = (help: string): Field<number, number> => make("number", help);
export const time = (help: string): Field<number, string> => make("time", help);
export const day = (help: string): Field<number, string> => make("day", help);
export const flag = (help: string): Field<boolean, boolean> => make("flag", help);
export const texts = (help: string): Field<readonly string[], readonly string[]> => make("texts", help);
export const map = (
  help: string,
): Field<Readonly<Record<string, string>>, Readonly<Record<string, string>>> => make("map", help);
type Counts = Readonly<Record<string, number | string>>;
export const counts = (help: string): Field<Counts, Counts> => make("counts", help);
type Pairs = readonly (readonly [name: string, value: string])[];
export const pairs = (help: string): Field<Pairs, Pairs> => make("pairs", help);
export const object = <F extends Fields>(members: F, help: string): Field<Row<F>, WireRow<F>> => ({
  ...make<Row<F>, WireRow<F>>("object", help),
  members,
});
export const objects = <F extends Fields>(
  members: F,
  help: string,
): Field<readonly Row<F>[], readonly WireRow<F>[]> => ({
  ...make<readonly Row<F>[], readonly WireRow<F>[]>("objects", help),
  members,
});
/** The same field, null where there is no value. */
export const orNull = <T, W>(field: Field<T, W>): Field<T | null, W | null> =>
  ({ ...field, nullable: true }) as Field<T | null, W | null>;
/** The same field as a member that an object may lack. */
export const optional = <T, W>(field: Field<T, W>): Field<T, W> & { readonly optional: true } => ({
  ...field,
  optional: true,
});

type Encoder = (value: unknown) => unknown;
type Members = Readonly<Record<string, unknown>>;

/** What makes a value of the field its form on the wire; undefined when both are the same. */
function encoderOf({ type, members }: Field): Encoder | undefined {
  switch (type) {
    case "time":
      return (value) => iso(value as number);
    case "day":
      return (value) => iso(value as number).slice(0, 10);
    case "object":
    case "objects": {
      const encode = membersEncoder(members ?? {});
      if (encode === undefined) return undefined;
      return type === "object"
        ? (value) => encode(value as Members)
        : (value) => (value as readonly Members[]).map(encode);
    }
    default:
      return undefined;
  }
}

/** The encoder of an object; undefined when all its members stay as they are. */
function membersEncoder(fields: Fields): ((row: Members) => Members) | undefined {
  const changed = Object.entries(fields).flatMap(([name, field]) => {
    const encode = encoderOf(field);
    return encode === undefined ? [] : [[name, encode] as const];
  });
  if (changed.length === 0) return undefined;
  return (row) => {
    const wire: Record<string, unknown> = { ...row };
    for (const [name, encode] of changed) {
      const value = wire[name];
      if (value !== null && value !== undefined) wire[name] = encode(value);
    }
    return wire;
  };
}

/** Makes the function that turns rows into their form on the wire: the fields in their order, and nothing else. */
export function rowEncoder<F extends Fields>(fields: F): (row: Row<F>) => WireRow<F> {
  const encoders = Object.entries<Field>(fields).map(([name, field]) => [name, encoderOf(field)] as const);
  return (row) => {
    const values = row as Members;
    const wire: Record<string, unknown> = {};
    for (const [name, encode] of encoders) {
      const value = values[name];
      wire[name] = encode === undefined || value === null || value === undefined ? value : encode(value);
    }
    return wire as WireRow<F>;
  };
}

/** report_id → reportId. */
const camelCase = (name: string): string =>
  name.replace(/_([a-z])/g, (_match, letter: string) => letter.toUpperCase());

/**
 * Makes the function that turns objects of the model, which have the same members with names in camelCase, into rows.
 * What an object lacks is null, or is lacking where the field is optional.
 */
export function rowReader<F extends Fields>(fields: F): (model: object) => Row<F> {
  const members = Object.entries<Field>(fields).map(([name, field]) => ({
    name,
    from: camelCase(name),
    optional: field.optional === true,
    read: memberReader(field),
  }));
  return (model) => {
    const values = model as Members;
    const row: Record<string, unknown> = {};
    for (const { name, from, optional, read } of members) {
      const value = values[from];
      if (value === undefined && optional) continue;
      row[name] = value === undefined || value === null ? null : read(value);
    }
    return row as Row<F>;
  };
}

function memberReader({ type, members }: Field): (value: unknown) => unknown {
  if (members === undefined) return (value) => value;
  const read = rowReader(members);
  return type === "object"
    ? (value) => read(value as object)
    : (value) => (value as readonly object[]).map(read);
}
