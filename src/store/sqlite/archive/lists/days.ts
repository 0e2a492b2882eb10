/** Sums by day. */
import type { ArchiveRow } from "../../../../model/lists/lists.ts";
import { dayWhere } from "../select.ts";
import { type ListSource, type SourceTools, wholePage } from "./source.ts";
import { NO_MESSAGES, plus } from "./sums.ts";

export const makeDays =
  ({ ask, idsOf }: SourceTools): ListSource<"days"> =>
  (filter) => {
    const { domainId, orgIds } = idsOf(filter);
    const table = orgIds ? "daily" : "daily_total";
    const { sql, values } = dayWhere(filter, table, domainId, orgIds);
    const rows = ask.all<{ day: number; ev: number; messages: number }>(
      `SELECT day, ev, sum(messages) AS messages FROM ${table} WHERE ${sql} GROUP BY day, ev ORDER BY day`,
      ...values,
    );
    const days = new Map<number, ArchiveRow<"days">>();
    for (const { day, ev, messages } of rows)
      days.set(day, plus(days.get(day) ?? { day, ...NO_MESSAGES }, ev, messages));
    return wholePage([...days.values()]);
  };
