/** Routes about received reports. Each list takes the filters that it knows; anything else is refused. */
import type { FastifyInstance, FastifyRequest } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import { MailreportError } from "../../lib/errors.ts";
import { OUTCOMES, REASONS, type Reason, WARNINGS, type Warning } from "../../model/outcome.ts";
import { REPORT_KINDS } from "../../model/report.ts";
import type { ArchiveFilter, ArchivePage, ArchiveReader, ReceivedMail } from "../../store/archive/reader.ts";
import { askerOf } from "../asker.ts";
import type { Services } from "../services.ts";
import { type ListPage, sendList, sendWhole } from "../stream.ts";
import {
  dayView,
  deliveryView,
  domainView,
  failureView,
  mailView,
  recordView,
  reporterView,
  reportView,
  sourceView,
  tlsView,
} from "../views.ts";
import { given, keys, LIMIT, sendRaw, TEXT, TIME, WAIT } from "./schemas.ts";
import { unparsedHeader, unparsedMember } from "./unparsed.ts";

/** Sources of one answer: they are summed up in memory. */
const MOST_SOURCES = 100_000;
/** Mails parsed again in one request to the ingest process: new mail is stored in between. */
const REPARSED_AT_ONCE = 20;

const time = { since: TIME.optional(), until: TIME.optional() };
const named = { domain: TEXT.optional(), org: TEXT.optional(), ...time };
const aboutReport = { ...named, warning: z.enum(keys(WARNINGS)).optional() };
const aboutRecord = { ...named, result: z.enum(["pass", "fail", "unknown"]).optional() };
const kind = { kind: z.enum(REPORT_KINDS).optional() };
const source = { source: TEXT.optional() };
const outcome = z.enum([...OUTCOMES, "failed", "spooled"]);
/** The form of each list's cursor. */
const MAIL_KEY = /^m\d{1,15}$/;
const REPORT_KEY = /^r\d{1,15}$/;
const ROW_KEY = /^r\d{1,15}\.\d{1,9}$/;
const RECORD_KEY = /^(?:-?\d{1,15}\.\d{1,15}|r)\.-?\d{1,9}$/;
const PLACE = /^\d{1,9}$/;

/** The filters and the cursor of each list. */
const LISTS = {
  received: {
    after: MAIL_KEY,
    filter: {
      ...aboutReport,
      ...kind,
      ...source,
      outcome: outcome.optional(),
      reason: z.enum(keys(REASONS)).optional(),
    },
  },
  reports: { after: REPORT_KEY, filter: { ...aboutReport, ...kind } },
  tls: { after: ROW_KEY, filter: aboutReport },
  failures: { after: ROW_KEY, filter: { ...aboutReport, kind: z.enum(["failure", "arf"]).optional() } },
  dsn: { after: ROW_KEY, filter: aboutReport },
  records: { after: RECORD_KEY, filter: { ...aboutRecord, ...source, report: TEXT.optional() } },
  domains: { after: PLACE, filter: named },
  sources: { after: PLACE, filter: { ...aboutRecord, ...source, all: z.stringbool().optional() } },
  reporters: { after: PLACE, filter: { ...aboutReport, ...kind } },
  days: { after: PLACE, filter: aboutRecord },
} as const;

const schemaOf = (name: keyof typeof LISTS) => {
  const { after, filter } = LISTS[name];
  return z.strictObject({
    ...filter,
    ...WAIT,
    limit: LIMIT,
    after: z.string().regex(after, "not a cursor of this list").optional(),
  });
};

export function addArchiveRoutes(fastify: FastifyInstance, services: Services): void {
  const app = fastify.withTypeProvider<ZodTypeProvider>();

  /** The filter and page of a request. The schemas have the names of the filter's members. */
  function asked(request: FastifyRequest) {
    const { limit, after, report, wait, ...filter } = request.query as ArchiveFilter & {
      readonly wait: boolean;
      readonly limit: number;
      readonly after?: string;
      readonly report?: string;
    };
    const { since, until } = filter;
    if (since !== undefined && until !== undefined && since >= until)
      throw new MailreportError("request.invalid", { detail: "the window is empty" });
    const where = given({ ...filter, reportId: report }) as ArchiveFilter & {
      warning?: Warning;
      reason?: Reason;
      reportId?: string;
    };
    return { limit, after, where, wait };
  }

  /** A list that is read page by page. */
  function paged<T>(
    name: keyof typeof LISTS,
    load: (archive: ArchiveReader, where: ArchiveFilter, page: ArchivePage) => Promise<ListPage<T>>,
    view: (item: T) => unknown,
  ): void {
    app.get(`/v1/${name}`, { schema: { querystring: schemaOf(name) } }, async (request, reply) => {
      const { limit, after, where, wait } = asked(request);
      const archive = services.archive.for(askerOf(reply));
      const more = await unparsedMember(services, wait);
      return sendList(
        reply,
        limit,
        after,
        (n, at) => load(archive, where, given({ limit: n, after: at })),
        view,
        more,
      );
    });
  }

  /** A list of sums, which is loaded as a whole. */
  function whole<T>(
    name: keyof typeof LISTS,
    load: (archive: ArchiveReader, where: ArchiveFilter) => Promise<readonly T[]>,
    view: (item: T) => unknown,
  ): void {
    app.get(`/v1/${name}`, { schema: { querystring: schemaOf(name) } }, async (request, reply) => {
      const { limit, after, where, wait } = asked(request);
      const archive = services.archive.for(askerOf(reply));
      const more = await unparsedMember(services, wait);
      return sendWhole(reply, limit, after, () => load(archive, where), view, more);
    });
  }

  paged("received", (archive, where, page) => archive.received(where, page), mailView);
  paged("reports", (archive, where, page) => archive.reports(where, page), reportView);
  paged("records", (archive, where, page) => archive.records(where, page), recordView);
  paged("tls", (archive, where, page) => archive.tls(where, page), tlsView);
  paged("failures", (archive, where, page) => archive.feedback(where, page), failureView);
  paged("dsn", (archive, where, page) => archive.deliveries(where, page), deliveryView);
  whole("domains", (archive, where) => archive.domains(where), domainView);
  whole("sources", (archive, where) => archive.sources(where, MOST_SOURCES), sourceView);
  whole("reporters", (archive, where) => archive.reporters(where), reporterView);
  whole("days", (archive, where) => archive.days(where), dayView);

  const byId = { params: z.strictObject({ id: TEXT }), querystring: z.strictObject(WAIT) };
  app.get("/v1/received/:id", { schema: byId }, async (request, reply) => {
    const archive = services.archive.for(askerOf(reply));
    await unparsedHeader(services, reply, request.query.wait);
    const mail = await archive.receivedMail(request.params.id);
    if (!mail) throw new MailreportError("archive.no_such_mail", { detail: request.params.id });
    return mailView(mail);
  });
  app.get("/v1/received/:id/raw", { schema: byId }, async (request, reply) => {
    const archive = services.archive.for(askerOf(reply));
    const { id } = request.params;
    const bytes = await archive.rawMail(id);
    const known = bytes !== undefined || (await archive.receivedMail(id)) !== undefined;
    return sendRaw(reply, bytes, known ? "archive.no_raw" : "archive.no_such_mail", id);
  });
  app.get("/v1/reports/:id", { schema: byId }, async (request, reply) => {
    const archive = services.archive.for(askerOf(reply));
    await unparsedHeader(services, reply, request.query.wait);
    const report = await archive.report(request.params.id);
    if (!report) throw new MailreportError("archive.no_such_report", { detail: request.params.id });
    const policies = report.kind === "tls" ? await archive.tlsPolicies(request.params.id) : undefined;
    const { name, mediaType, size } = report.part;
    const part = { name, media_type: mediaType, size };
    return { ...reportView(report), part, head: report.head, ...(policies ? { policies } : {}) };
  });
  addReparse(fastify, services);
}

const reparseBody = z.strictObject({
  ids: z.array(TEXT).max(10_000).optional(),
  outcome: outcome.optional(),
  all: z.literal(true).optional(),
  dry_run: z.boolean().default(false),
});

/** Parses mails again: the named ones (or those that named reports came in), those of an outcome, or all. */
function addReparse(fastify: FastifyInstance, services: Services): void {
  const app = fastify.withTypeProvider<ZodTypeProvider>();
  const { archive } = services;
  app.post("/v1/reparse", { schema: { body: reparseBody } }, async (request) => {
    const { ids, outcome: only, all, dry_run } = request.body;
    if (!ids && !only && !all)
      throw new MailreportError("request.invalid", { detail: "ids, outcome or all" });
    const outcomes: Record<string, number> = {};
    const skipped: { id: string; code: string }[] = [];
    let parsed = 0;
    let noRaw = 0;
    const again = async (mails: readonly ReceivedMail[]) => {
      const kept = mails.filter((mail) => mail.rawKept);
      noRaw += mails.length - kept.length;
      if (dry_run) parsed += kept.length;
      for (let at = 0; at < kept.length && !dry_run; at += REPARSED_AT_ONCE) {
        for (const result of await services.reparse(kept.slice(at, at + REPARSED_AT_ONCE))) {
          outcomes[result.outcome] = (outcomes[result.outcome] ?? 0) + 1;
          parsed++;
        }
      }
    };
    for (const id of new Set(ids ?? [])) {
      const mailId = id.startsWith("r") ? (await archive.report(id))?.mailId : id;
      const mail = mailId === undefined ? undefined : await archive.receivedMail(mailId);
      if (!mail)
        skipped.push({ id, code: id.startsWith("r") ? "archive.no_such_report" : "archive.no_such_mail" });
      else if (!mail.rawKept) skipped.push({ id, code: "archive.no_raw" });
      else await again([mail]);
    }
    let after: string | undefined;
    do {
      if (ids) break;
      const found = await archive.received(only ? { outcome: only } : {}, given({ limit: 500, after }));
      await again(found.items);
      after = found.next ?? undefined;
    } while (after !== undefined);
    if (!dry_run) services.audit("reparse", { parsed, outcomes, no_raw: noRaw });
    return { parsed, outcomes, skipped, no_raw: noRaw, dry_run };
  });
}
