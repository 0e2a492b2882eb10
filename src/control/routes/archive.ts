/** Routes about one received mail or report. Their lists are in lists.ts. */
import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import { MailreportError } from "../../lib/errors.ts";
import { rowEncoder } from "../../model/lists/field.ts";
import { RECEIVED } from "../../model/lists/received.ts";
import { REPORT_FIELDS } from "../../model/lists/report-fields.ts";
import {
  HEAD_FIELDS,
  headView,
  PART_FIELDS,
  partView,
  policyView,
  TLS_POLICY_FIELDS,
} from "../../model/lists/report-view.ts";
import { OUTCOMES } from "../../model/outcome.ts";
import type { ReceivedMail } from "../../store/archive/reader.ts";
import type { Services } from "../services.ts";
import { objectSchema } from "./list-schemas.ts";
import { given, sendRaw, TEXT, WAIT } from "./schemas.ts";
import { unparsedHeader } from "./unparsed.ts";

/** Mails parsed again in one request to the ingest process: new mail is stored in between. */
const REPARSED_AT_ONCE = 20;

const outcome = z.enum([...OUTCOMES, "failed", "spooled"]);

const mailView = rowEncoder(RECEIVED.fields);
const reportView = rowEncoder(REPORT_FIELDS);

const mailSchema = objectSchema(RECEIVED.fields);
const reportSchema = z.strictObject({
  ...objectSchema(REPORT_FIELDS).shape,
  part: objectSchema(PART_FIELDS),
  head: z.union([...new Set(Object.values(HEAD_FIELDS))].map(objectSchema)),
  policies: z.array(objectSchema(TLS_POLICY_FIELDS)).optional(),
});

export function addArchiveRoutes(fastify: FastifyInstance, services: Services): void {
  const app = fastify.withTypeProvider<ZodTypeProvider>();
  const { archive } = services;

  const byId = { params: z.strictObject({ id: TEXT }), querystring: z.strictObject(WAIT) };
  const mailAnswer = { schema: { ...byId, response: { 200: mailSchema } } };
  app.get("/v1/received/:id", mailAnswer, async (request, reply) => {
    await unparsedHeader(services, reply, request.query.wait);
    const mail = await archive.receivedMail(request.params.id);
    if (!mail) throw new MailreportError("archive.no_such_mail", { detail: request.params.id });
    return mailView(mail);
  });
  const rawAnswer = { schema: { ...byId, response: { 200: z.instanceof(Buffer) } } };
  app.get("/v1/received/:id/raw", rawAnswer, async (request, reply) => {
    const { id } = request.params;
    const bytes = await archive.rawMail(id);
    const known = bytes !== undefined || (await archive.receivedMail(id)) !== undefined;
    return sendRaw(reply, bytes, known ? "archive.no_raw" : "archive.no_such_mail", id);
  });
  const reportAnswer = { schema: { ...byId, response: { 200: reportSchema } } };
  app.get("/v1/reports/:id", reportAnswer, async (request, reply) => {
    await unparsedHeader(services, reply, request.query.wait);
    const report = await archive.report(request.params.id);
    if (!report) throw new MailreportError("archive.no_such_report", { detail: request.params.id });
    const { part, head, ...row } = report;
    const policies = report.kind === "tls" ? await archive.tlsPolicies(request.params.id) : undefined;
    return {
      ...reportView(row),
      part: partView(part),
      head: headView(head),
      ...(policies ? { policies: policies.map(policyView) } : {}),
    };
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
      const kept = mails.filter((mail) => mail.raw_kept);
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
      const mailId = id.startsWith("r") ? (await archive.report(id))?.mail_id : id;
      const mail = mailId === undefined ? undefined : await archive.receivedMail(mailId);
      if (!mail)
        skipped.push({ id, code: id.startsWith("r") ? "archive.no_such_report" : "archive.no_such_mail" });
      else if (!mail.raw_kept) skipped.push({ id, code: "archive.no_raw" });
      else await again([mail]);
    }
    let after: string | undefined;
    do {
      if (ids) break;
      const found = await archive.list(
        "received",
        only ? { outcome: only } : {},
        given({ limit: 500, after }),
      );
      await again(found.items);
      after = found.next ?? undefined;
    } while (after !== undefined);
    if (!dry_run) services.audit("reparse", { parsed, outcomes, no_raw: noRaw });
    return { parsed, outcomes, skipped, no_raw: noRaw, dry_run };
  });
}
