/** The routes of the control protocol: each has schemas for what it is asked and what it answers, and they hold. */
import { fastify, type RouteOptions } from "fastify";
import { serializerCompiler, validatorCompiler, type ZodTypeProvider } from "fastify-type-provider-zod";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { answers } from "../../src/control/answers/common.ts";
import { addBoundary } from "../../src/control/boundary.ts";
import { addRoutes } from "../../src/control/routes/routes.ts";
import type { Services } from "../../src/control/services.ts";
import { MailreportError } from "../../src/lib/errors.ts";
import { type RecordedLog, recordedLog } from "../support/recorded-log.ts";

/** Routes of lists and of the archive, whose schemas of answers are still missing. */
const WITHOUT_ANSWER_SCHEMA = new Set([
  ...["received", "reports", "records", "tls", "failures", "dsn", "domains", "sources", "reporters", "days"],
  ...["received/:id", "received/:id/raw", "reports/:id", "queue", "outgoing", "suppressions"],
]);

function appWith(log: RecordedLog) {
  const app = fastify().withTypeProvider<ZodTypeProvider>();
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  app.addContentTypeParser("application/octet-stream", (_request, _payload, done) => done(null));
  addBoundary(app, log);
  return app;
}

/** A stand-in for services of which nothing is called. */
const nothing: unknown = new Proxy(() => nothing, { get: () => nothing });

function allRoutes(): RouteOptions[] {
  const app = appWith(recordedLog());
  const routes: RouteOptions[] = [];
  app.addHook("onRoute", (route) => void routes.push(route));
  addRoutes(app, nothing as Services);
  return routes.filter(({ method }) => method !== "HEAD");
}

describe("every route", () => {
  const routes = allRoutes();
  const titled = routes.map((route) => [`${String(route.method)} ${route.url}`, route] as const);

  it("is found", () => {
    expect(titled.length).toBeGreaterThan(40);
  });

  it.each(titled)("%s has schemas of its request", (_, { method, url, schema }) => {
    expect(method === "GET" ? schema?.querystring : (schema?.body ?? schema?.querystring)).toBeDefined();
    if (url.includes(":")) expect(schema?.params).toBeDefined();
  });

  it.each(titled)("%s has schemas of its answers", (_, { method, url, schema }) => {
    const expected = method === "GET" && WITHOUT_ANSWER_SCHEMA.has(url.slice("/v1/".length));
    expect(Object.keys((schema?.response ?? {}) as object)).toEqual(expected ? [] : ["200", "4xx", "5xx"]);
  });

  it("of the exceptions is one of those that exist", () => {
    const urls = new Set(routes.map(({ url }) => url.slice("/v1/".length)));
    expect([...WITHOUT_ANSWER_SCHEMA].filter((url) => !urls.has(url))).toEqual([]);
  });
});

describe("an answer", () => {
  async function answerOf(handler: () => unknown) {
    const log = recordedLog();
    const app = appWith(log);
    app.get(
      "/",
      { schema: { response: answers(z.strictObject({ n: z.number() })) } },
      async () => handler() as { n: number },
    );
    const response = await app.inject("/");
    return { status: response.statusCode, body: response.json<Record<string, unknown>>(), log };
  }

  it("that matches its schema is sent as it is", async () => {
    expect(await answerOf(() => ({ n: 1 }))).toMatchObject({ status: 200, body: { n: 1 } });
  });

  it.each([
    ["lacks a member", {}],
    ["has one of another type", { n: "1" }],
    ["has one that nobody declared", { n: 1, more: 2 }],
  ])("that %s was sent all the same: it is a bug, 500 and a log line", async (_, wrong) => {
    const { status, body, log } = await answerOf(() => wrong);
    expect(status).toBe(500);
    expect(body).toMatchObject({ error: { code: "daemon.bug" } });
    expect(log.of("unit.failed")).toMatchObject([
      { unit: "control request", url: "/", code: "daemon.bug", stack: expect.any(String) },
    ]);
  });

  it("that is an error has its code, message, detail and the id of the request", async () => {
    const refused = () => {
      throw new MailreportError("queue.no_such_envelope", { detail: "0a0a" });
    };
    expect(await answerOf(refused)).toMatchObject({
      status: 404,
      body: {
        error: { code: "queue.no_such_envelope", message: "no such envelope: 0a0a", detail: "0a0a" },
      },
    });
  });
});
