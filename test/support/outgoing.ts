import type { ComposeInput } from "../../src/format/compose/compose.ts";
import type { DmarcRow } from "../../src/model/evaluation.ts";
import type { TallyRow } from "../../src/model/outgoing.ts";

export const identity = {
  domain: "example.org",
  submitter: "mx.example.org",
  orgName: 'Société "A & <B>"',
  from: "noreply-reports@example.org",
  contactInfo: "https://example.org/reports",
  generator: "mailreportd 0.1.0",
};

export const dmarcRow = (over: Partial<DmarcRow> = {}): DmarcRow => ({
  sourceIp: "192.0.2.10",
  disposition: "none",
  dkimAligned: true,
  spfAligned: false,
  reasons: [],
  headerFrom: "sender.example",
  envelopeFrom: "bounce.sender.example",
  envelopeTo: "example.org",
  dkim: [{ domain: "sender.example", selector: "s1", result: "pass", humanResult: null }],
  spf: { domain: "bounce.sender.example", result: "fail", humanResult: null },
  ...over,
});

export function dmarcInput(rows: readonly TallyRow[], over: Partial<ComposeInput> = {}): ComposeInput {
  return {
    kind: "dmarc",
    identity,
    policyDomain: "sender.example",
    begin: 1795046400,
    end: 1795132799,
    policy: {
      kind: "dmarc",
      rua: ["mailto:dmarc@sender.example"],
      policy: {
        domain: "sender.example",
        p: "reject",
        sp: null,
        np: null,
        adkim: "r",
        aspf: "r",
        fo: "0",
        testing: "n",
        psd: "u",
        discovery: "treewalk",
      },
    },
    rows,
    note: null,
    profile: "both",
    maxMessageSize: 10 << 20,
    reportId: (part) => `d20261119abcdefghijkl${part}`,
    ...over,
  };
}

export const manyRows = (n: number): TallyRow[] =>
  Array.from({ length: n }, (_, i) => ({
    kind: "dmarc",
    row: dmarcRow({ sourceIp: `198.51.${i >> 8}.${i & 255}`, spfAligned: i % 2 === 0 }),
    count: 1 + (i % 9),
  }));

export const tlsRow: TallyRow = {
  kind: "tls",
  policy: {
    type: "sts",
    domain: "sender.example",
    strings: ["version: STSv1", "mode: enforce"],
    mxHosts: ["mx.sender.example"],
  },
  success: 41,
  failure: 3,
  details: [
    {
      detail: {
        resultType: "certificate-expired",
        sendingMtaIp: "192.0.2.1",
        receivingMxHostname: "mx.sender.example",
        receivingMxHelo: null,
        receivingIp: "203.0.113.25",
        additionalInformation: null,
        failureReasonCode: null,
      },
      count: 3,
    },
  ],
};
