/** Connects the services with the parts of the daemon. While the start waits, a missing part fails with the reason. */
import type { Services } from "../control/services.ts";
import type { Clock } from "../lib/clock.ts";
import type { LogSink } from "../lib/log/pino.ts";
import type { DaemonEventSink } from "../model/events.ts";
import { type LifeControl, makeDaemonService } from "../services/daemon.ts";
import { makeDatabases } from "../services/databases.ts";
import { makeEnvelopes } from "../services/envelopes.ts";
import { makeFeeds } from "../services/feeds.ts";
import { makeJobs } from "../services/jobs.ts";
import { makeMails } from "../services/mails.ts";
import { Operations } from "../services/operation.ts";
import { makeOutgoing } from "../services/outgoing.ts";
import { makePauses } from "../services/pauses.ts";
import { makeQueueLists } from "../services/questions.ts";
import { makeSuppressions } from "../services/suppressions.ts";
import { late } from "./late.ts";
import type { Parts } from "./parts.ts";
import type { Pauses } from "./pauses.ts";

export interface ServiceOptions extends Omit<LifeControl, "setLogLevel"> {
  readonly parts: Parts;
  readonly pauses: Pauses;
  readonly clock: Clock;
  readonly sink: LogSink;
  readonly events: DaemonEventSink;
}

/** The services, and the operations that they declare. */
export function makeServices({ parts, pauses, clock, sink, events, ...life }: ServiceOptions): {
  readonly services: Services;
  readonly operations: Operations;
} {
  const { log } = sink;
  const { made } = parts;
  const operations = new Operations({
    log,
    clock,
    events,
    // before the queue is open there is no table; the log has the entry
    audit: (entry) => made.queue?.audit(entry),
    wake: (part) => made[part]?.wake(),
  });
  const config = (): Parts["config"] => parts.config;
  const [store, archive, ingest] = [parts.late("queue"), parts.late("archive"), parts.late("ingest")];
  const requests = late(() => parts.need("scheduler").requests);
  const services: Services = {
    archive,
    queue: makeQueueLists(store, clock),
    envelopes: makeEnvelopes(operations, { config, store, clock }),
    suppressions: makeSuppressions(operations, { store, clock }),
    outgoing: makeOutgoing(operations, { requests, store, clock, log }),
    pauses: makePauses(operations, { control: pauses, clock }),
    mails: makeMails(operations, { ingest, archive, clock, log }),
    jobs: makeJobs(operations, parts.late("jobs")),
    feeds: makeFeeds(operations, { config, feeder: parts.late("feeder") }),
    databases: makeDatabases(operations, parts.late("databases")),
    daemon: makeDaemonService(operations, { ...life, setLogLevel: (level) => sink.setLevel(level) }),
  };
  return { services, operations };
}
