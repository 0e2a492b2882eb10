/** How a report mail was authenticated. */
import type { ReportKind } from "./report.ts";

/** How the report mail was authenticated (RFC 8601 words; `none` = not checked or nothing to check). */
export interface MessageAuth {
  readonly verdict: "pass" | "fail" | "none" | "temperror";
  /** The author domain (of From), which a pass stands for; null when there is none, or more than one. */
  readonly domain: string | null;
  /** d= domains of valid DKIM signatures, aligned or not. */
  readonly dkimDomains: readonly string[];
  /**
   * The same question for TLS reports: pass only with a valid DKIM signature of the author domain, by a key that
   * allows the service `tlsrpt` (RFC 8460 3).
   */
  readonly tls: "pass" | "fail" | "none" | "temperror";
  /** Who said so: `own` or the authserv-id of a trusted server. */
  readonly by: string | null;
  readonly detail: string | null;
}

/** The verdict that counts for a kind of report: TLS reports need DKIM (RFC 8460 3), all others what DMARC needs. */
export function authFor(kind: ReportKind, auth: MessageAuth): MessageAuth["verdict"] {
  return kind === "tls" ? auth.tls : auth.verdict;
}
