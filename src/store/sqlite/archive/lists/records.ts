/** Records of DMARC reports. */
import { guarded } from "../../open.ts";
import { numberOf } from "../statement-cache.ts";
import type { ListSource, SourceTools } from "./source.ts";

export const makeRecords =
  ({ scan, idsOf }: SourceTools): ListSource<"records"> =>
  (filter, page) => {
    const ids = idsOf(filter);
    return guarded(
      () =>
        filter.report === undefined
          ? scan.records(filter, ids, page)
          : scan.recordsOf(numberOf(filter.report, "r") ?? -1, filter, ids, page),
      "archive",
    );
  };
