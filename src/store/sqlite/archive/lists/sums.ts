/** Sums of messages by DMARC result. */
import { isPass, isUnknown } from "../../../../model/figures.ts";
import type { ArchiveFilter } from "../../../archive/reader.ts";

export const NO_MESSAGES = { messages: 0, pass: 0, fail: 0, unknown: 0 };

/** Messages of a packed evaluation, added to what there is. */
export function plus<T extends typeof NO_MESSAGES>(sum: T, ev: number, messages: number): T {
  const verdict = isPass(ev) ? "pass" : isUnknown(ev) ? "unknown" : "fail";
  return { ...sum, messages: sum.messages + messages, [verdict]: sum[verdict] + messages };
}

export const hasWindow = ({ since, until }: ArchiveFilter): boolean =>
  since !== undefined || until !== undefined;
