/** How long the bytes of a mail are kept depends on what became of it: `mail.raw`, by which those that expired are found. */
import type { Outcome } from "../../../model/outcome.ts";

export const RAW = { none: 0, parsed: 1, failed: 2, unparsed: 3 } as const;

export type RawClass = (typeof RAW)[keyof typeof RAW];

const FAILED_OUTCOMES: readonly Outcome[] = ["invalid", "partial", "unauthenticated", "duplicate-conflict"];

/** Outcomes that a later version may improve, in SQL: their bytes are kept longer. */
export const FAILED = `(${FAILED_OUTCOMES.map((outcome) => `'${outcome}'`).join(", ")})`;

/** The class of a mail that was parsed and of which the bytes are stored. */
export function rawClassOf(outcome: Outcome): RawClass {
  return FAILED_OUTCOMES.includes(outcome) ? RAW.failed : RAW.parsed;
}
