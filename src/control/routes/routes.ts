/** All routes of the control protocol, once, with their schemas. They hold no state. */
import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import type { Services } from "../services.ts";
import { addArchiveRoutes } from "./archive.ts";
import { addDaemonRoutes } from "./daemon.ts";
import { addDatabaseRoutes } from "./databases.ts";
import { importFrames } from "./import.ts";
import { addOutgoingRoutes } from "./outgoing.ts";
import { addQueueRoutes } from "./queue.ts";

export function addRoutes(fastify: FastifyInstance, services: Services): void {
  const app = fastify.withTypeProvider<ZodTypeProvider>();
  addArchiveRoutes(fastify, services);
  addDaemonRoutes(fastify, services);
  addQueueRoutes(fastify, services);
  addOutgoingRoutes(fastify, services);
  addDatabaseRoutes(fastify, services);

  // ---- in ----------------------------------------------------------------------
  app.post("/v1/import", { bodyLimit: Number.MAX_SAFE_INTEGER }, (request, reply) =>
    importFrames(request.raw, reply, services),
  );
  app.post(
    "/v1/feed",
    {
      bodyLimit: 8 << 20,
      schema: {
        querystring: z.strictObject({
          name: z
            .string()
            .regex(/^[a-z0-9][a-z0-9_-]{0,31}$/i)
            .default("control"),
          first: z.coerce.number().int().min(1).default(1),
        }),
      },
    },
    async (request) => {
      const body = typeof request.body === "string" ? request.body : "";
      return services.feed(
        request.query.name,
        body.split("\n").filter((line, i, all) => i < all.length - 1 || line !== ""),
        request.query.first,
      );
    },
  );
}
