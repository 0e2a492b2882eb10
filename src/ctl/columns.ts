/** The columns of a list for a terminal and for a pipe, from its description. */
import type { Field, Fields } from "../model/lists/field.ts";
import type { List, Column as ListColumn } from "../model/lists/list.ts";
import { type Column, day, epoch, type Item, relative, str, thousands } from "./render.ts";

/** A percentage; 100.0% is all, and 0.0% is none. */
export function share(part: unknown, whole: unknown): string {
  const [some, all] = [Number(part), Number(whole)];
  if (!(all > 0)) return "-";
  const percent = (some / all) * 100;
  if (some < all && percent >= 99.95) return "99.9%";
  return some > 0 && percent < 0.05 ? "0.1%" : `${percent.toFixed(1)}%`;
}

type Texts = Pick<Column, "text" | "plain" | "right">;

/** How a field is shown by its type. */
function textsOf(name: string, { type }: Field, { form, of }: ListColumn, now: number): Texts {
  if (form === "share")
    return { text: (r) => share(r[name], r[of ?? ""]), plain: (r) => str(r[name]), right: true };
  switch (type) {
    case "number":
      return { text: (r) => thousands(r[name]), plain: (r) => str(r[name]), right: true };
    case "time":
      return {
        text: form === "day" ? (r) => day(r[name]) : (r) => relative(r[name], now),
        plain: (r) => epoch(r[name]),
      };
    case "texts":
      return { text: (r) => (r[name] as readonly string[]).join(",") };
    default:
      return { text: (r) => str(r[name]) };
  }
}

function columnOf(column: ListColumn, fields: Fields, now: number): Column {
  const { title, field, text, plain, none, when, right, cut, drop } = column;
  const look = {
    title,
    ...(right === undefined ? {} : { right }),
    ...(cut === undefined ? {} : { cut }),
    ...(drop === undefined ? {} : { drop }),
  };
  const own = text && ((item: Item) => text(item, now));
  if (field === undefined)
    return { ...look, text: own ?? (() => ""), ...(plain && { plain: (item: Item) => plain(item) }) };
  const texts = textsOf(field, fields[field]!, column, now);
  const shown = own ?? texts.text;
  return {
    ...texts,
    ...look,
    plain: texts.plain ?? texts.text,
    text: (item) => {
      if (when?.(item) === false) return "-";
      return none !== undefined && item[field] === null ? none : shown(item);
    },
  };
}

/** Columns of a table. `now`: epoch milliseconds. */
export const tableColumns = ({ columns, fields }: List, now: number): readonly Column[] =>
  columns.map((column) => columnOf(column, fields, now));

/** Columns in a pipe. */
export const plainColumns = ({ columns, plain = columns, fields }: List, now: number): readonly Column[] =>
  plain.map((column) => columnOf(column, fields, now));

/** All fields, as an export has them: scalars as they are, all else as JSON. */
export const exportColumns = ({ fields }: List): readonly Column[] =>
  Object.keys(fields).map((title) => ({ title, text: (item) => cell(item[title]) }));

function cell(value: unknown): string {
  return typeof value === "object" && value !== null ? JSON.stringify(value) : str(value);
}
