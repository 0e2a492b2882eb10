/** The commands that show a list. */
import type { List } from "../../model/lists/list.ts";
import { listOf } from "../../model/lists/lists.ts";
import { type Call, list, listQuery, withQuery } from "../call.ts";
import { plainColumns, tableColumns } from "../columns.ts";
import { UsageError } from "../grammar.ts";

/** Shows a list; plain titles, in a pipe and in CSV, are those of its plain columns. */
export function showList(call: Call, of: List, more: Readonly<Record<string, string>> = {}): Promise<number> {
  const { now } = call.around;
  const path = withQuery(`/v1/${of.name}`, listQuery(call, of, more));
  return list(call, path, tableColumns(of, now), plainColumns(of, now));
}

/** Carries out the command of a list. */
export async function runList(call: Call): Promise<number> {
  const { command, operands, options } = call.parsed;
  const { name, operand, instead } = command.list!;
  if (instead && options[instead.option]) return showList(call, listOf(instead.list));
  const [typed] = operands;
  if (operand === undefined || typed === undefined) return showList(call, listOf(name));
  if (operand.accepts?.(typed) === false)
    throw new UsageError(
      "possibilities are:",
      ...(operand.forms ?? []).map((form) => [...command.words, form].join(" ")),
    );
  return showList(call, listOf(name), { [operand.filter]: typed });
}
