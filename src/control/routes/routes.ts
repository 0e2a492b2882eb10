/** All routes of the control protocol, once, with their schemas. They hold no state. */
import type { FastifyInstance } from "fastify";
import type { Services } from "../services.ts";
import { addArchiveRoutes } from "./archive.ts";
import { addDaemonRoutes } from "./daemon.ts";
import { addDatabaseRoutes } from "./databases.ts";
import { addFeedRoutes } from "./feed.ts";
import { addImportRoutes } from "./import.ts";
import { addJobRoutes } from "./jobs.ts";
import { addOutgoingRoutes } from "./outgoing.ts";
import { addQueueRoutes } from "./queue.ts";

/** Adds all routes. Returns what ends the requests that would outlast the server, and waits for them. */
export function addRoutes(fastify: FastifyInstance, services: Services): () => Promise<void> {
  addArchiveRoutes(fastify, services);
  addDaemonRoutes(fastify, services);
  addQueueRoutes(fastify, services);
  addOutgoingRoutes(fastify, services);
  addDatabaseRoutes(fastify, services);
  addFeedRoutes(fastify, services);
  addJobRoutes(fastify, services);
  return addImportRoutes(fastify, services);
}
