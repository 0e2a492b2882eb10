/** Accepted mail that is not parsed yet: what is answered about reports lacks theirs, and says so. */
import type { FastifyReply } from "fastify";
import type { Services } from "../services.ts";
import { UNPARSED_HEADER } from "../wire.ts";

/** Waits for the parser, and tells in a header of the answer how many mails it lacks, if any. */
export async function unparsedHeader(services: Services, reply: FastifyReply, wait: boolean): Promise<void> {
  const { unparsed } = await unparsedMember(services, wait);
  if (unparsed !== undefined) reply.header(UNPARSED_HEADER, unparsed);
}

/** Waits for the parser; the member of a list's end record that tells how many mails it lacks, if any. */
export async function unparsedMember(
  { parsed }: Services,
  wait: boolean,
): Promise<{ readonly unparsed?: number }> {
  const unparsed = await parsed(wait);
  return unparsed > 0 ? { unparsed } : {};
}
