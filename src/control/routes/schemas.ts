/** What the schemas and handlers of the routes have in common. */
import type { FastifyReply } from "fastify";
import { z } from "zod";
import { type ErrorCode, MailreportError } from "../../lib/errors.ts";

export const LIMIT = z.coerce.number().int().min(1).max(10_000_000).default(10_000_000);
/** Where the page before ended: `next` of its end record. */
export const AFTER = z.string().max(200).optional();
/** Next key of a page of a list that is loaded as a whole: its place in the list. */
export const PLACE = z.string().regex(/^\d{1,9}$/, "not a key of this list");
export const TEXT = z.string().min(1).max(1000);
/** Whether a question waits until all mail that was accepted before it is parsed. */
export const WAIT = { wait: z.stringbool().default(false) };
/** Epoch seconds. */
export const TIME = z.coerce.number().int().min(0).max(99_999_999_999);

/** The words of a catalogue, for an enumeration. */
export const keys = <T extends string>(object: Readonly<Record<T, unknown>>): [T, ...T[]] =>
  Object.keys(object) as [T, ...T[]];

/** Without undefined members, as the interfaces want them. */
export function given<T extends object>(
  object: T,
): { [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & {
  [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>;
} {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as never;
}

/** Sends a message byte for byte. Errors: `code` when there are no bytes. */
export function sendRaw(
  reply: FastifyReply,
  bytes: Uint8Array | undefined,
  code: ErrorCode,
  id: string,
): FastifyReply {
  if (!bytes) throw new MailreportError(code, { detail: id });
  return reply.type("message/rfc822").send(Buffer.from(bytes));
}

/** Seconds by which a time may be in the past and is still meant as now. */
const NOW_ROOM = 60;

/** The time for which something is to be scheduled, at least now. Errors: `request.invalid` for one in the past. */
export function scheduledTime(at: number, now: number): number {
  if (at < now - NOW_ROOM)
    throw new MailreportError("request.invalid", { detail: "the time is in the past" });
  return Math.max(at, now);
}
