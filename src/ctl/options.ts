/** Options that several commands of mailreportctl share; those that are filters come from the lists. */
import { ARCHIVE_FILTERS, type Filters } from "../model/lists/filter.ts";
import type { List } from "../model/lists/list.ts";
import { EXPORTS } from "../model/lists/lists.ts";
import { QUEUE } from "../model/lists/queue.ts";
import type { OptionSpec } from "./grammar.ts";

export const page: readonly OptionSpec[] = [
  { name: "limit", short: "p", value: "N", help: "maximum number of results" },
  {
    name: "after",
    value: "CURSOR",
    help: "continue after this cursor",
    filter: { name: "after", type: "text" },
  },
];
export const WAIT: OptionSpec = {
  name: "wait",
  help: "wait until all mail that was accepted before is parsed",
  filter: { name: "wait", type: "flag" },
};
export const option = (
  name: string,
  value: string,
  help: string,
  more: Pick<OptionSpec, "short" | "values"> = {},
): OptionSpec => ({ name, value, help, ...more });

/** The options of filters, each followed by its aliases. */
export function filterOptions(filters: Filters): OptionSpec[] {
  return Object.entries(filters).flatMap(([filter, { type, help, values, option: how }]) => {
    if (how === null) return [];
    const { name = filter, short, aliases = [], value } = how;
    const rest = {
      ...(value === undefined ? {} : { value }),
      ...(values === undefined ? {} : { values }),
      filter: { name: filter, type },
    };
    return [
      { name, ...(short === undefined ? {} : { short }), help, ...rest },
      ...aliases.map((alias) => ({ name: alias, help: `alias of --${name}`, ...rest })),
    ];
  });
}

/** What all lists of a store take besides their filters. */
const pageOptions = ({ store }: List): readonly OptionSpec[] =>
  store === "archive" ? [...page, WAIT] : page;

/** The options of a command that shows a list. */
export function listOptions(list: List, more: readonly OptionSpec[] = []): readonly OptionSpec[] {
  return [...filterOptions(list.filters), ...more, ...pageOptions(list)];
}

/** Options of `export` that differ in meaning from list to list. */
const EXPORT_HELP: Readonly<Record<string, string>> = {
  source: "source address; of mails: address of the SMTP client",
  state: "of mails: alias of --outcome; of envelopes and outgoing reports: their state",
  all: "include reports that the figures leave out; of suppressions: those that have expired",
};

/** The options of `export`: the filters of all lists. A list takes those that it has. */
export function exportOptions(own: readonly OptionSpec[]): readonly OptionSpec[] {
  const options = new Map(own.map((one) => [one.name, one]));
  for (const one of EXPORTS.flatMap(({ filters }) => filterOptions(filters))) {
    const known = options.get(one.name);
    if (known === undefined) options.set(one.name, { ...one, help: EXPORT_HELP[one.name] ?? one.help });
    else if (known.filter !== undefined && known.values !== undefined)
      options.set(one.name, { ...known, values: [...new Set([...known.values, ...(one.values ?? [])])] });
  }
  return [...options.values(), ...page, WAIT];
}

/** Filters of actions on envelopes. */
export const envelopes: readonly OptionSpec[] = filterOptions(QUEUE.filters);
/** Filters of actions on mails. */
export const outcomes: readonly OptionSpec[] = filterOptions({ outcome: ARCHIVE_FILTERS.outcome });
export const time: OptionSpec = {
  name: "time",
  short: "t",
  value: "TIME",
  help: "when (+30m, 2026-11-20T12:00:00Z)",
};
