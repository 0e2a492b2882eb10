/** Shapes and constants of the control protocol that the client shares. No code, so that it starts fast. */

/** The version of the protocol; within it fields are only added. */
export const API_VERSION = 1;
export const API_HEADER = "mailreport-api";
/** Header of answers that are no lists: the number of accepted mails that are missing because they are not parsed yet. */
export const UNPARSED_HEADER = "mailreport-unparsed";
/** Header beside it: `paused` or `failing`, when they are not being parsed. */
export const PARSING_HEADER = "mailreport-parsing";

export interface WireError {
  readonly error: {
    readonly code: string;
    readonly message: string;
    readonly detail?: unknown;
    readonly request_id?: string;
  };
}

/** The last line of every list. */
export interface WireEnd {
  readonly end: {
    readonly count: number;
    /** The cursor of the next page; null at the end. */
    readonly next: string | null;
    /** Number of accepted mails that are missing in the list because they are not parsed yet; absent for none. */
    readonly unparsed?: number;
    /** Why they are not being parsed; absent while they are. */
    readonly parsing?: "paused" | "failing";
    /** Why an import ended before its end. */
    readonly error?: { readonly code: string; readonly message: string };
  } & Readonly<Record<string, unknown>>;
}
