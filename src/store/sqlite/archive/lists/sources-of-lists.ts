/** The source of each list of the archive. */
import type { ArchiveListName } from "../../../../model/lists/lists.ts";
import { makeDays } from "./days.ts";
import { makeDomains } from "./domains.ts";
import { makeDsn } from "./dsn.ts";
import { makeFailures } from "./failures.ts";
import { makeReceived } from "./received.ts";
import { makeRecords } from "./records.ts";
import { makeReporters } from "./reporters.ts";
import { makeReports } from "./reports.ts";
import type { ListSource, SourceTools } from "./source.ts";
import { makeSources } from "./sources.ts";
import { makeTls } from "./tls.ts";

export type ListSources = { readonly [N in ArchiveListName]: ListSource<N> };

export function makeListSources(tools: SourceTools): ListSources {
  return {
    received: makeReceived(tools),
    reports: makeReports(tools),
    records: makeRecords(tools),
    domains: makeDomains(tools),
    sources: makeSources(tools),
    reporters: makeReporters(tools),
    tls: makeTls(tools),
    failures: makeFailures(tools),
    dsn: makeDsn(tools),
    days: makeDays(tools),
  };
}
