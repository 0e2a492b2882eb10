/** What the schemas of the answers have in common. An answer has the members of its schema and no others. */
import { z } from "zod";

/** RFC 3339 in UTC, to the second. */
export const AT = z.iso.datetime();
/** A number that is counted or measured. */
export const COUNT = z.number();
export const COUNTS = z.record(z.string(), z.union([COUNT, z.string()]));

/** A list of any length. */
export const listOf = <T extends z.ZodType>(item: T) => z.array(item).readonly();

/** The answer of a request that failed. */
export const ERROR = z.strictObject({
  error: z.strictObject({
    code: z.string(),
    message: z.string(),
    detail: z.unknown().optional(),
    request_id: z.string().optional(),
  }),
});

/** The last line of an answer of lines that ended with an error. */
export const ERROR_LINE = z.strictObject({
  error: z.strictObject({ code: z.string(), message: z.string() }),
});

/** What was skipped, with the error code that says why. */
export const SKIPPED = listOf(z.strictObject({ id: z.string(), code: z.string() }));

/** The schemas of a route's answers: of success, and of errors. */
export const answers = <T extends z.ZodType>(success: T) => ({ 200: success, "4xx": ERROR, "5xx": ERROR });

/** A message byte for byte. */
export const RAW = answers(z.instanceof(Uint8Array));
