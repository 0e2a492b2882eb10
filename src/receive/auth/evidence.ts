/** Results of SPF and DKIM of a mail before alignment: ours or those of a trusted upstream MTA. */

export type Result = "pass" | "fail" | "none" | "temperror";

export interface SpfEvidence {
  readonly result: Result;
  /** The domain that was checked: of MAIL FROM, or of EHLO for the null sender; null when there is none. */
  readonly domain: string | null;
}

export interface DkimEvidence {
  readonly result: Result;
  /** d=, canonical. */
  readonly domain: string;
  /** The key record allows the service (RFC 6376 3.6.1): `s=` absent or `*`, or naming it. */
  readonly mail: boolean;
  readonly tlsrpt: boolean;
}

export interface Evidence {
  readonly spf: SpfEvidence;
  readonly dkim: readonly DkimEvidence[];
  /** A trusted server's own DMARC result; null: evaluated here. */
  readonly dmarc: "pass" | "fail" | null;
  /** `own`, or the authserv-id of the server. */
  readonly by: string;
  /** Why something could not be checked. */
  readonly notes: readonly string[];
}

export const NO_SPF: SpfEvidence = { result: "none", domain: null };
