/** What is kept of a mail whose parser met a bug. */
import type { Unparsable } from "../../store/archive/intake.ts";
import { wireError } from "./protocol.ts";

export function unparsableOf(thrown: unknown): Unparsable {
  const { detail, stack } = wireError(thrown);
  return { reason: "internal", detail, ...(stack === undefined ? {} : { stack }) };
}
