/** Accepted mail that is not parsed yet: answers about reports do not contain it, and say so. */
import type { FastifyReply } from "fastify";
import type { Services } from "../services.ts";
import { PARSING_HEADER, UNPARSED_HEADER, type WireEnd } from "../wire.ts";

type Unparsed = Pick<WireEnd["end"], "unparsed" | "parsing">;

/** Waits for the parser; sets headers of the answer when mails are still not parsed. */
export async function unparsedHeader(services: Services, reply: FastifyReply, wait: boolean): Promise<void> {
  const { unparsed, parsing } = await unparsedMember(services, wait);
  if (unparsed !== undefined) reply.header(UNPARSED_HEADER, unparsed);
  if (parsing !== undefined) reply.header(PARSING_HEADER, parsing);
}

/**
 * Waits for the parser; returns the members of a list's end record: the mails that are still not parsed, and why, when
 * nothing parses them.
 */
export async function unparsedMember(services: Services, wait: boolean): Promise<Unparsed> {
  const unparsed = await services.mails.parsed(wait);
  if (unparsed === 0) return {};
  const parsing = services.mails.parsing();
  return parsing === "running" ? { unparsed } : { unparsed, parsing };
}
