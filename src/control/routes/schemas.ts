/** What the schemas and handlers of the routes have in common. */
import type { FastifyReply } from "fastify";
import { z } from "zod";
import { type ErrorCode, MailreportError } from "../../lib/errors.ts";

export const LIMIT = z.coerce.number().int().min(1).max(10_000_000).default(10_000_000);
export const TEXT = z.string().min(1).max(1000);
/** Whether a question waits until all mail that was accepted before it is parsed. */
export const WAIT = { wait: z.stringbool().default(false) };
/** Why something is changed, for the audit table. */
export const REASON = z.string().max(1000);
/** Epoch seconds. */
export const TIME = z.coerce.number().int().min(0).max(99_999_999_999);

/** The query of a request that has none. */
export const NO_QUERY = z.strictObject({});

/** What every change may be asked with. */
export const CHANGE = { dry_run: z.boolean().default(false), reason: REASON.nullish() };

/** A body that may be left out, as if it were an empty object. */
export const optionalBody = <T extends z.ZodRawShape>(shape: T) =>
  z.preprocess((body) => body ?? {}, z.strictObject(shape));

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
