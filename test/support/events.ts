/** Evaluations, sessions and messages for tests of outgoing reports. */
import type { DmarcEvaluation, DmarcRow, EvaluatedPolicy, TlsSessions } from "../../src/model/evaluation.ts";
import { outgoingId } from "../../src/model/outgoing.ts";
import type { CountedEvent, NewMessage } from "../../src/store/queue.ts";

/** 2026-11-19, a Thursday. */
export const DAY = Date.parse("2026-11-19T00:00:00Z") / 1000;
export const HASH = "0123456789abcdef";

export const POLICY: EvaluatedPolicy = {
  domain: "example.com",
  p: "reject",
  sp: null,
  np: null,
  adkim: "r",
  aspf: "r",
  fo: "0",
  testing: "n",
  psd: "u",
  discovery: "treewalk",
};

export function row(more: Partial<DmarcRow> = {}): DmarcRow {
  return {
    sourceIp: "192.0.2.10",
    disposition: "none",
    dkimAligned: true,
    spfAligned: false,
    reasons: [],
    headerFrom: "example.com",
    envelopeFrom: "bounce.example.com",
    envelopeTo: "rx.example",
    dkim: [{ domain: "example.com", selector: "s1", result: "pass", humanResult: null }],
    spf: { domain: "bounce.example.com", result: "fail", humanResult: null },
    ...more,
  };
}

export function evaluation(
  more: Partial<Omit<DmarcEvaluation, "row">> & { readonly row?: Partial<DmarcRow> } = {},
): DmarcEvaluation {
  return {
    kind: "dmarc",
    id: null,
    time: DAY + 3600,
    policy: POLICY,
    rua: ["mailto:reports@example.com"],
    count: 1,
    optional: false,
    spam: false,
    ...more,
    row: row(more.row),
  };
}

export function sessions(more: Partial<TlsSessions> = {}): TlsSessions {
  return {
    kind: "tls",
    id: null,
    time: DAY + 3600,
    domain: "example.com",
    record: "v=TLSRPTv1;rua=mailto:tls@example.com",
    policies: [
      {
        policy: {
          type: "sts",
          domain: "example.com",
          strings: ["version: STSv1", "mode: enforce"],
          mxHosts: ["*.mail.example.com"],
        },
        success: 2,
        failure: 1,
        details: [
          {
            detail: {
              resultType: "certificate-expired",
              sendingMtaIp: "203.0.113.5",
              receivingMxHostname: "mx1.mail.example.com",
              receivingMxHelo: null,
              receivingIp: "198.51.100.7",
              additionalInformation: null,
              failureReasonCode: null,
            },
            count: 1,
          },
        ],
      },
    ],
    optional: false,
    ...more,
  };
}

/** An event as it is counted in the day that begins at `begin`. */
export function counted(
  event: DmarcEvaluation | TlsSessions,
  more: Partial<CountedEvent["period"]> & { readonly late?: boolean } = {},
): CountedEvent {
  const { late = false, ...period } = more;
  const begin = period.begin ?? DAY;
  return {
    event,
    late,
    period: {
      kind: event.kind,
      policyDomain: event.kind === "dmarc" ? event.policy.domain : event.domain,
      policyHash: HASH,
      begin,
      end: begin + 86_399,
      due: begin + 86_400 + 300,
      policy:
        event.kind === "dmarc"
          ? { kind: "dmarc", policy: event.policy, rua: event.rua }
          : { kind: "tls", record: event.record },
      ...period,
    },
  };
}

export const OUTGOING = outgoingId("dmarc", "example.com", HASH, DAY);

/** A message of the outgoing report with one envelope for each address. */
export function newMessage(
  id: string,
  rcpts: readonly string[],
  nextAt: number,
  outgoing = OUTGOING,
): NewMessage {
  return {
    message: {
      id,
      kind: "dmarc",
      outgoingId: outgoing,
      policyDomain: "example.com",
      reportId: `d20261119${id}`,
      messageId: `<d20261119${id}.r1@mx.reporter.example>`,
      fileName: "mx.reporter.example!example.com!1!2.xml.gz",
      sender: `reports+${id}.00000000@reporter.example`,
      size: 5,
      createdAt: nextAt,
    },
    raw: Buffer.from("bytes"),
    envelopes: rcpts.map((rcpt, i) => ({
      id: id + (i + 1).toString(16).padStart(8, "0"),
      rcpt,
      transport: "smtp",
      destination: rcpt.slice(rcpt.indexOf("@") + 1),
      nextAt,
      expiresAt: nextAt + 86_400,
    })),
  };
}
