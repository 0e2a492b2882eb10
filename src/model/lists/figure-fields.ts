/** The fields that lists of figures have in common. */
import { number } from "./field.ts";

/** Messages by DMARC result. */
export const VERDICT_FIELDS = {
  messages: number("messages of DMARC reports"),
  pass: number("messages that passed"),
  fail: number("messages that failed"),
  unknown: number("messages that did not pass, with a result that is not known"),
};
