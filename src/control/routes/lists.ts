/** The route of every list: `GET /v1/NAME` with its filters, as NDJSON. A list takes the filters that it has; others are refused. */
import type { FastifyInstance } from "fastify";
import { MailreportError } from "../../lib/errors.ts";
import { rowEncoder } from "../../model/lists/field.ts";
import type { List } from "../../model/lists/list.ts";
import {
  type ArchiveFilterValues,
  type ArchiveListName,
  type DaemonListName,
  type DaemonRow,
  LISTS,
  type QueueFilterValues,
  type QueueListName,
} from "../../model/lists/lists.ts";
import type { Asker } from "../../store/archive/reader.ts";
import { answers } from "../answers/common.ts";
import { lineSchema, querySchema } from "../answers/lists.ts";
import { askerOf } from "../asker.ts";
import type { Services } from "../services.ts";
import { type ListPage, sendList, sendWhole } from "../stream.ts";
import { given } from "./schemas.ts";
import { unparsedMember } from "./unparsed.ts";

/** Rows of a list that is loaded as a whole: they are held in memory. */
const MOST_ROWS = 100_000;

interface Asked {
  readonly limit: number;
  readonly after?: string;
  /** Only of lists of the archive. */
  readonly wait?: boolean;
  readonly since?: number;
  readonly until?: number;
}

type LoadPage = (limit: number, after: string | undefined) => Promise<ListPage<object>>;

/** What answers the lists of the daemon. */
const DAEMON_SOURCES: { readonly [N in DaemonListName]: (services: Services) => readonly DaemonRow<N>[] } = {
  jobs: ({ jobs }) => jobs.list(),
};

/** What loads a page of a list. */
function loader({ name, store }: List, filter: object, services: Services, asker: Asker): LoadPage {
  const { archive, queue } = services;
  if (store === "queue")
    return async (limit, after) =>
      queue.list(name as QueueListName, filter as QueueFilterValues<QueueListName>, given({ limit, after }));
  if (store === "daemon")
    return async () => ({ items: DAEMON_SOURCES[name as DaemonListName](services), next: null });
  const asked = archive.for(asker);
  return (limit, after) =>
    asked.list(name as ArchiveListName, filter as ArchiveFilterValues, given({ limit, after }));
}

function addList(app: FastifyInstance, list: List, services: Services): void {
  const schema = { querystring: querySchema(list), response: answers(lineSchema(list)) };
  const view = rowEncoder(list.fields) as (row: object) => object;
  app.get(`/v1/${list.name}`, { schema }, async (request, reply) => {
    const { limit, after, wait, ...rest } = request.query as Asked;
    const { since, until } = rest;
    if (since !== undefined && until !== undefined && since >= until)
      throw new MailreportError("request.invalid", { detail: "the window is empty" });
    const asker = askerOf(reply);
    const more = wait === undefined ? {} : await unparsedMember(services, wait);
    const load = loader(list, given(rest), services, asker);
    if (list.reading === "pages") return sendList(reply, limit, after, load, view, more);
    return sendWhole(reply, limit, after, async () => (await load(MOST_ROWS, undefined)).items, view, more);
  });
}

export function addListRoutes(app: FastifyInstance, services: Services): void {
  for (const list of LISTS) addList(app, list, services);
}
