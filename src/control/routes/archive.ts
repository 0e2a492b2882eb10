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
import { answers, RAW } from "../answers/common.ts";
import { objectSchema } from "../answers/lists.ts";
import { askerOf } from "../asker.ts";
import type { Services } from "../services.ts";
import { sendRaw, TEXT, WAIT } from "./schemas.ts";
import { unparsedHeader } from "./unparsed.ts";

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

  const byId = { params: z.strictObject({ id: TEXT }), querystring: z.strictObject(WAIT) };
  const mailAnswer = { schema: { ...byId, response: answers(mailSchema) } };
  app.get("/v1/received/:id", mailAnswer, async (request, reply) => {
    const archive = services.archive.for(askerOf(reply));
    await unparsedHeader(services, reply, request.query.wait);
    const mail = await archive.receivedMail(request.params.id);
    if (!mail) throw new MailreportError("archive.no_such_mail", { detail: request.params.id });
    return mailView(mail);
  });
  const rawAnswer = { schema: { ...byId, response: RAW } };
  app.get("/v1/received/:id/raw", rawAnswer, async (request, reply) => {
    const archive = services.archive.for(askerOf(reply));
    const { id } = request.params;
    const bytes = await archive.rawMail(id);
    const known = bytes !== undefined || (await archive.receivedMail(id)) !== undefined;
    return sendRaw(reply, bytes, known ? "archive.no_raw" : "archive.no_such_mail", id);
  });
  const reportAnswer = { schema: { ...byId, response: answers(reportSchema) } };
  app.get("/v1/reports/:id", reportAnswer, async (request, reply) => {
    const archive = services.archive.for(askerOf(reply));
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
}
