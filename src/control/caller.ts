/** Who a request comes from. */
import type { FastifyRequest } from "fastify";
import type { Caller } from "../services/operation.ts";

/** The caller of a request, with the reason that it gives. */
export type CallerOf = (request: FastifyRequest, reason: string | null | undefined) => Caller;

/** Of the control socket: Node cannot ask which user is at the other end. */
export const socketCaller: CallerOf = (_request, reason) => ({
  who: "control socket",
  reason: reason ?? null,
});
