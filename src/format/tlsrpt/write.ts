/** Writes SMTP TLS reports (RFC 8460 4.4) as I-JSON, with stable bytes. */
import { iso } from "../../lib/units.ts";
import type { TallyRow } from "../../model/outgoing.ts";
import type { ReportIdentity } from "../dmarc/write.ts";

export type TlsTally = Extract<TallyRow, { kind: "tls" }>;

export interface TlsDocument {
  readonly identity: ReportIdentity;
  /** `left@right` */
  readonly reportId: string;
  readonly begin: number;
  readonly end: number;
  readonly rows: Iterable<TlsTally>;
}

/** The report as JSON writes it, member by member. */
export interface TlsReport {
  readonly "organization-name": string;
  readonly "date-range": { readonly "start-datetime": string; readonly "end-datetime": string };
  readonly "contact-info": string;
  readonly "report-id": string;
  readonly policies: readonly TlsReportPolicy[];
}

export interface TlsReportPolicy {
  readonly policy: {
    readonly "policy-type": TlsTally["policy"]["type"];
    readonly "policy-string"?: readonly string[];
    readonly "policy-domain": string;
    readonly "mx-host"?: readonly string[];
  };
  readonly summary: {
    readonly "total-successful-session-count": number;
    readonly "total-failure-session-count": number;
  };
  readonly "failure-details"?: readonly TlsReportDetail[];
}

export interface TlsReportDetail {
  readonly "result-type": string;
  readonly "failed-session-count": number;
  readonly [optional: string]: string | number;
}

/** The report as a value, in the order in which it is written; compared again after writing. */
export function tlsValue({ identity, reportId, begin, end, rows }: TlsDocument): TlsReport {
  return {
    "organization-name": identity.orgName,
    "date-range": { "start-datetime": iso(begin), "end-datetime": iso(end) },
    "contact-info": identity.from,
    "report-id": reportId,
    policies: sorted(rows, ({ policy }) => JSON.stringify([policy.domain, policy.type, policy.strings])).map(
      policyValue,
    ),
  };
}

export function writeTls(value: TlsReport): string {
  return `${JSON.stringify(value)}\n`;
}

function policyValue({ policy, success, failure, details }: TlsTally): TlsReportPolicy {
  const { type, domain, strings, mxHosts } = policy;
  return {
    policy: {
      "policy-type": type,
      ...(type === "no-policy-found" ? {} : { "policy-string": strings }),
      "policy-domain": domain,
      ...(type === "sts" && mxHosts.length > 0 ? { "mx-host": mxHosts } : {}),
    },
    summary: { "total-successful-session-count": success, "total-failure-session-count": failure },
    ...(details.length === 0
      ? {}
      : { "failure-details": sorted(details, ({ detail }) => JSON.stringify(detail)).map(detailValue) }),
  };
}

function detailValue({ detail, count }: TlsTally["details"][number]): TlsReportDetail {
  const optional = (name: string, value: string | null): Readonly<Record<string, string>> =>
    value === null ? {} : { [name]: value };
  return {
    "result-type": detail.resultType,
    ...optional("sending-mta-ip", detail.sendingMtaIp),
    ...optional("receiving-mx-hostname", detail.receivingMxHostname),
    ...optional("receiving-mx-helo", detail.receivingMxHelo),
    ...optional("receiving-ip", detail.receivingIp),
    "failed-session-count": count,
    ...optional("additional-information", detail.additionalInformation),
    ...optional("failure-reason-code", detail.failureReasonCode),
  };
}

function sorted<T>(items: Iterable<T>, key: (item: T) => string): T[] {
  return [...items]
    .map((item) => [key(item), item] as const)
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
    .map(([, item]) => item);
}
