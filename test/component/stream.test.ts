/** NDJSON answers to slow clients, over a real socket. */
import { get, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { type FastifyReply, fastify } from "fastify";
import { expect, it } from "vitest";
import { sendList } from "../../src/control/stream.ts";

it("a slow client left a listener behind for each page: their number stays the same", async () => {
  const app = fastify();
  const counts: string[] = [];
  let slowPages = 0;
  app.get("/", (_request, reply: FastifyReply) => {
    const { raw } = reply;
    const page = (_limit: number, after: string | undefined) => {
      const n = Number(after ?? 0);
      counts.push(["close", "drain", "error"].map((event) => raw.listenerCount(event)).join());
      if (raw.writableNeedDrain) throw new Error("the next page is loaded before the client took the last");
      return {
        items: Array.from({ length: 500 }, () => "x".repeat(2000)),
        next: n < 20 ? String(n + 1) : null,
      };
    };
    raw.on("drain", () => slowPages++);
    return sendList(reply, 1e6, undefined, page, (item) => item);
  });
  await app.listen({ port: 0, host: "127.0.0.1" });
  const { port } = app.server.address() as AddressInfo;
  const response = await new Promise<IncomingMessage>((resolve) =>
    get({ port, host: "127.0.0.1", path: "/" }, resolve),
  );
  let bytes = 0;
  for await (const chunk of response) bytes += (chunk as Buffer).length;
  expect(bytes).toBeGreaterThan(20_000_000);
  expect(slowPages).toBeGreaterThan(10); // the client really was slower than the pages
  expect([...new Set(counts)]).toHaveLength(1);
  await app.close();
});
