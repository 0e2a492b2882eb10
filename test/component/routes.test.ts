/** The routes of the control protocol: each has schemas for what it is asked and what it answers, and they hold. */
import { join } from "node:path";
import type { FastifyInstance, RouteOptions } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { z } from "zod";
import { answers } from "../../src/control/answers/common.ts";
import { addRoutes } from "../../src/control/routes/routes.ts";
import { makeApp } from "../../src/control/server.ts";
import type { Services } from "../../src/control/services.ts";
import { MailreportError } from "../../src/lib/errors.ts";
import { sessions } from "../support/events.ts";
import { type RecordedLog, recordedLog } from "../support/recorded-log.ts";
import { DOMAIN, MAIL, ServiceBox } from "../support/service-box.ts";

/** A stand-in for services of which nothing is called. */
const nothing: unknown = new Proxy(() => nothing, { get: () => nothing });

function allRoutes(): RouteOptions[] {
  const app = makeApp(recordedLog());
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

  it.each(titled)("%s has schemas of its answers", (_, { schema }) => {
    expect(Object.keys((schema?.response ?? {}) as object)).toEqual(["200", "4xx", "5xx"]);
  });
});

describe("an answer", () => {
  async function answerOf(handler: () => unknown) {
    const log = recordedLog();
    const app = makeApp(log).withTypeProvider<ZodTypeProvider>();
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

const RFC_3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/;

/** All members of an answer with their paths; list items have the path of their list. */
function membersOf(value: unknown, path = ""): [path: string, value: unknown][] {
  if (Array.isArray(value)) return value.flatMap((each) => membersOf(each, path));
  if (typeof value !== "object" || value === null) return [[path, value]];
  return Object.entries(value).flatMap(([name, inner]): [string, unknown][] => [
    [`${path}.${name}`, inner],
    ...membersOf(inner, `${path}.${name}`),
  ]);
}

describe("over real databases", () => {
  let box: ServiceBox;
  let app: FastifyInstance;
  let log: RecordedLog;
  beforeEach(() => {
    box = new ServiceBox();
    log = recordedLog();
    app = makeApp(log);
    addRoutes(app, box.services);
  });
  afterEach(async () => {
    await app.close();
    await box.end();
  });

  const get = (url: string) => app.inject({ url });
  const post = (url: string, payload: object = {}) => app.inject({ method: "POST", url, payload });
  const report = (action = "") => `/v1/outgoing/${encodeURIComponent(`d!${DOMAIN}`)}${action}`;

  /** Requests of all routes that answer with an object, each after what makes it answer with all its members. */
  const REQUESTS: Readonly<Record<string, () => unknown>> = {
    "/v1": () => get("/v1"),
    "/v1/status": () => get("/v1/status"),
    "/v1/stats": () => get("/v1/stats"),
    "an envelope": async () => {
      const [id] = (await box.tried("failed")).selection.ids;
      await post("/v1/suppressions", { target: `@${DOMAIN}`, until: box.now + 9 });
      return get(`/v1/envelopes/${id}`);
    },
    "a message": async () => get(`/v1/messages/${(await box.queued()).selection.ids[0].slice(0, 8)}`),
    "an action on envelopes": async () => {
      const [id] = (await box.tried("failed")).selection.ids;
      return post("/v1/actions/hold", { select: { ids: [id] } });
    },
    "pausing a subsystem": () => post("/v1/actions/pause", { subsystem: "smtp", dry_run: true }),
    "a suppression": async () => {
      await post("/v1/suppressions", { target: `@${DOMAIN}` });
      return post("/v1/suppressions", { target: `@${DOMAIN}`, until: box.now + 9 });
    },
    "looking up a suppression": async () => {
      await post("/v1/suppressions", { target: `@${DOMAIN}` });
      return get(`/v1/suppressions/lookup?target=a@${DOMAIN}`);
    },
    "removing suppressions": async () => {
      await post("/v1/suppressions", { target: `@${DOMAIN}` });
      return post("/v1/suppressions/remove", { targets: [`@${DOMAIN}`, "@other.example"] });
    },
    "an outgoing report with DMARC tallies": () => {
      box.run.feed(
        box.run.about(DOMAIN, {
          row: { reasons: [{ type: "other", comment: "c" }] },
        }),
      );
      return get(report());
    },
    "an outgoing report with sessions": () => {
      box.run.feed(sessions({ time: box.now, domain: DOMAIN }));
      return get(report().replace("d!", "t!"));
    },
    "explaining a report": () => {
      box.open();
      return get(report("/explain"));
    },
    "sending a report": () => {
      box.open();
      return post(report("/send"));
    },
    "sending a report, dry": () => {
      box.open();
      return post(report("/send"), { dry_run: true });
    },
    "cancelling a report": () => {
      box.open();
      return post(report("/cancel"));
    },
    "bringing a report back": async () => {
      box.open();
      await post(report("/cancel"));
      return post(report("/undelete"));
    },
    "holding a report": () => {
      box.open();
      return post(report("/hold"));
    },
    "scheduling a report": () => {
      box.open();
      return post(report("/schedule"), { at: box.now });
    },
    "parsing again": async () => {
      await box.archive.intake(MAIL);
      return post("/v1/reparse", { ids: ["m1", "m2"] });
    },
    "a feed": () =>
      app.inject({
        ...{ method: "POST", url: "/v1/feed?reason=test", payload: `${box.line}\n{}\n` },
        headers: { "content-type": "application/x-ndjson" },
      }),
    "a backup": () => post("/v1/db/backup", { path: join(box.run.dir, "copy") }),
    "giving space back": () => post("/v1/db/vacuum"),
    "what has expired": () => post("/v1/db/prune", { dry_run: true }),
    "sizes of the databases": () => get("/v1/db/stats"),
    "a reload": () => post("/v1/reload"),
    "a stop": () => post("/v1/stop"),
    "a log level": () => post("/v1/log", { level: "brief" }),
  };

  it.each(Object.keys(REQUESTS))(
    "%s is answered by its schema, with names in snake_case and times in RFC 3339",
    async (name) => {
      const response = (await REQUESTS[name]!()) as Awaited<ReturnType<typeof get>>;
      expect([response.statusCode, log.of("unit.failed")], response.body).toEqual([200, []]);
      const members = membersOf(response.json());
      expect(members.filter(([path]) => !/^[a-z0-9_.]*$/.test(path))).toEqual([]);
      const times = members.filter(([path]) => /(_at|\.(at|begin|end|due|until|since))$/.test(path));
      for (const [path, value] of times) if (value !== null) expect(value, path).toMatch(RFC_3339);
    },
  );

  it("messages are sent byte for byte", async () => {
    const [id] = (await box.queued()).selection.ids;
    const sent = await get(`/v1/messages/${id}/raw`);
    expect(sent.headers["content-type"]).toBe("message/rfc822");
    expect(sent.rawPayload.equals(Buffer.from(box.run.store.rawMessage(id.slice(0, 8))!))).toBe(true);
    expect((await get("/v1/messages/00000000/raw")).json()).toMatchObject({
      error: { code: "queue.no_such_message" },
    });
    box.run.feed(box.run.about(DOMAIN));
    expect((await get(report("/preview"))).body).toContain(`Subject: Report Domain: ${DOMAIN}`);
  });

  it("a refused reload had an answer of its own form: it is an error, with its problems line by line", async () => {
    box.reloadable = false;
    const response = await post("/v1/reload");
    const problems = ["a:1:1: wrong", "a:2:1: wrong"];
    expect([response.statusCode, response.json()]).toEqual([
      422,
      {
        error: {
          ...{ code: "config.invalid", message: problems.join("\n"), detail: { problems } },
          request_id: expect.any(String),
        },
      },
    ]);
    expect(box.audit()).toEqual([]);
  });

  it("a request with a member that nobody knows is refused with its name", async () => {
    for (const response of [
      await get("/v1/status?verbose=1"),
      await post("/v1/stop", { verbose: 1 }),
      await post(report("/cancel"), { verbose: 1 }),
    ]) {
      expect(response.json()).toMatchObject({
        error: { code: "request.invalid", message: expect.stringContaining("verbose") },
      });
    }
    expect(box.audit()).toEqual([]);
  });

  it("the reason of a request reaches the audit, from its body and from its query", async () => {
    await post("/v1/log", { level: "brief", reason: "quiet" });
    await REQUESTS["a feed"]!();
    expect(box.audit()).toMatchObject([
      { who: "control socket", command: "log", detail: { reason: "quiet" } },
      { who: "control socket", command: "feed", detail: { reason: "test" } },
    ]);
  });
});
