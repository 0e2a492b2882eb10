/** Accepted mail that is not parsed yet: answers about reports do not contain it, and say so. */
import type { FastifyReply } from "fastify";
import type { Services } from "../services.ts";
import { UNPARSED_HEADER } from "../wire.ts";

/** Waits for the parser; sets a header of the answer when mails are still not parsed. */
export async function unparsedHeader(services: Services, reply: FastifyReply, wait: boolean): Promise<void> {
  const { unparsed } = await unparsedMember(services, wait);
  if (unparsed !== undefined) reply.header(UNPARSED_HEADER, unparsed);
}

/** Waits for the parser; returns the member of a list's end record, with the mails that are still not parsed. */
export async function unparsedMember(
  { parsed }: Services,
  wait: boolean,
): Promise<{ readonly unparsed?: number }> {
  const unparsed = await parsed(wait);
  return unparsed > 0 ? { unparsed } : {};
}
