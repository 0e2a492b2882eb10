/** All routes of the control protocol, once, with their schemas. They hold no state. */
import type { FastifyInstance } from "fastify";
import { type CallerOf, socketCaller } from "../caller.ts";
import type { Services } from "../services.ts";
import { addArchiveRoutes } from "./archive.ts";
import { addDaemonRoutes } from "./daemon.ts";
import { addDatabaseRoutes } from "./databases.ts";
import { addFeedRoutes } from "./feed.ts";
import { addImportRoutes } from "./import.ts";
import { addJobRoutes } from "./jobs.ts";
import { addListRoutes } from "./lists.ts";
import { addOutgoingRoutes } from "./outgoing.ts";
import { addPauseRoutes } from "./pauses.ts";
import { addQueueRoutes } from "./queue.ts";
import { addReparseRoutes } from "./reparse.ts";
import { addSuppressionRoutes } from "./suppressions.ts";

/**
 * Adds all routes. Returns what ends the requests that would outlast the server, and waits for them.
 * @param callerOf who a request comes from
 */
export function addRoutes(
  fastify: FastifyInstance,
  services: Services,
  callerOf: CallerOf = socketCaller,
): () => Promise<void> {
  addListRoutes(fastify, services);
  addArchiveRoutes(fastify, services);
  addReparseRoutes(fastify, services, callerOf);
  addDaemonRoutes(fastify, services, callerOf);
  addQueueRoutes(fastify, services, callerOf);
  addPauseRoutes(fastify, services, callerOf);
  addSuppressionRoutes(fastify, services, callerOf);
  addOutgoingRoutes(fastify, services, callerOf);
  addDatabaseRoutes(fastify, services, callerOf);
  addFeedRoutes(fastify, services, callerOf);
  addJobRoutes(fastify, services, callerOf);
  return addImportRoutes(fastify, services, callerOf);
}
