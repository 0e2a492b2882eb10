/** Shapes and constants of the control protocol that the client shares. Types only, so that it starts fast. */

/** The version of the protocol; within it fields are only added. */
export const API_VERSION = 1;
export const API_HEADER = "mailreport-api";

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
  readonly end: { readonly count: number; readonly next: string | null } & Readonly<Record<string, unknown>>;
}

export interface WireChange {
  readonly matched: number;
  readonly changed: number;
  readonly skipped: readonly { readonly id: string; readonly code: string }[];
}
