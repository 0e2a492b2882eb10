/** Sums by source address. */
import { guarded } from "../../open.ts";
import { type ListSource, type SourceTools, wholePage } from "./source.ts";

export const makeSources =
  ({ scan, idsOf }: SourceTools): ListSource<"sources"> =>
  (filter, { limit }) =>
    guarded(() => wholePage(scan.sources(filter, idsOf(filter), limit)), "archive");
