/** What the main thread and a reader thread send each other. */
import { type ErrorCode, MailreportError } from "../../../lib/errors.ts";
import { failureOf } from "../../../lib/supervised.ts";
import type { ArchiveReader } from "../../archive/reader.ts";

/** The methods of an ArchiveReader that a thread answers. */
export type QuestionName = Exclude<keyof ArchiveReader, "close">;

/** `short`: looks at a few rows whatever the archive holds. `long`: may look at all of it. */
export type Cost = "short" | "long";

/** All questions with their cost. A method that is not here does not compile. */
export const QUESTIONS: Readonly<Record<QuestionName, Cost>> = {
  list: "long",
  receivedMail: "short",
  rawMail: "short",
  report: "short",
  tlsPolicies: "short",
  stats: "short",
  expirable: "long",
  size: "long",
};

export const QUESTION_NAMES = Object.keys(QUESTIONS) as readonly QuestionName[];

export interface ReaderQuestion {
  /** 1 to 2^31 - 1; no two questions of a thread in a row have the same. */
  readonly no: number;
  readonly name: QuestionName;
  readonly args: readonly unknown[];
}

/** `close`: the thread closes its database and ends. */
export type ReaderRequest = ReaderQuestion | "close";

export interface FailedAnswer {
  readonly no: number;
  readonly ok: false;
  readonly code: ErrorCode;
  readonly detail: string | undefined;
  readonly temporary: boolean;
  /** Of a bug. */
  readonly stack: string | undefined;
}

export type ReaderAnswer = { readonly no: number; readonly ok: true; readonly value: unknown } | FailedAnswer;

/** What a reader thread is given at its start. */
export interface ReaderThreadData {
  /** archive.db */
  readonly path: string;
  /** One Int32: the number of the question that was cancelled last, written by the main thread. */
  readonly cancelled: SharedArrayBuffer;
}

/** The answer for what a question threw. */
export function failedAnswer(no: number, thrown: unknown): FailedAnswer {
  const { error, bug } = failureOf(thrown);
  const { code, detail, temporary } = error;
  return {
    no,
    ok: false,
    code,
    detail,
    temporary,
    stack: bug && thrown instanceof Error ? thrown.stack : undefined,
  };
}

/** The error that a failed answer tells of; a bug has its stack in the thread as cause. */
export function errorOf({ code, detail, temporary, stack }: FailedAnswer): MailreportError {
  const cause = stack === undefined ? undefined : Object.assign(new Error(detail), { stack });
  return new MailreportError(code, { ...(detail === undefined ? {} : { detail }), temporary, cause });
}
