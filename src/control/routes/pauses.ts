/** Routes that pause and resume subsystems. */
import type { FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import { SUBSYSTEMS } from "../../model/subsystems.ts";
import { perform } from "../../services/operation.ts";
import { answers } from "../answers/common.ts";
import { PAUSE_CHANGED } from "../answers/queue.ts";
import type { CallerOf } from "../caller.ts";
import type { Services } from "../services.ts";
import { CHANGE, TEXT } from "./schemas.ts";

const body = z.strictObject({ subsystem: z.enum(SUBSYSTEMS), destination: TEXT.nullish(), ...CHANGE });

export function addPauseRoutes(fastify: FastifyInstance, { pauses }: Services, callerOf: CallerOf): void {
  const app = fastify.withTypeProvider<ZodTypeProvider>();
  for (const action of ["pause", "resume"] as const) {
    const schema = { body, response: answers(PAUSE_CHANGED) };
    app.post(`/v1/actions/${action}`, { schema }, async (request) => {
      const { subsystem, destination = null, reason, dry_run } = request.body;
      const asked = { subsystem, destination };
      const { changed } = await perform(pauses[action], asked, callerOf(request, reason), dry_run);
      return { changed, dry_run };
    });
  }
}
