/** The error boundary of control requests: which errors of handlers are logged. */
import Fastify from "fastify";
import { expect, it } from "vitest";
import { addBoundary } from "../../src/control/boundary.ts";
import { MailreportError } from "../../src/lib/errors.ts";
import { supervised } from "../../src/lib/supervised.ts";
import { recordedLog } from "../support/recorded-log.ts";

const log = recordedLog();

/** The units in the log after a request with such a handler. */
async function unitsOf(handler: () => Promise<unknown>, status: number): Promise<unknown[]> {
  log.lines.length = 0;
  const app = Fastify();
  addBoundary(app, log);
  app.get("/", handler);
  try {
    expect((await app.inject("/")).statusCode).toBe(status);
    return log.of("unit.failed").map(({ unit }) => unit);
  } finally {
    await app.close();
  }
}

it("an error of the store is logged", async () => {
  expect(await unitsOf(() => Promise.reject(new MailreportError("store.full")), 503)).toEqual([
    "control request",
  ]);
});

it.each([
  ["an error of the store", new MailreportError("store.full"), 503],
  ["a bug", new TypeError("undefined is not a function"), 500],
])("%s in a backup or a job that a request ran was logged twice: once", async (_, error, status) => {
  const handler = async () => {
    const done = await supervised({ log, unit: "backup" }, () => Promise.reject(error));
    if (!done.ok) throw done.failure.error;
  };
  expect(await unitsOf(handler, status)).toEqual(["backup"]);
});

it("each question that an overloaded archive refused had a log line: the archive logs that once", async () => {
  expect(await unitsOf(() => Promise.reject(new MailreportError("archive.busy")), 503)).toEqual([]);
});
