/**
 * Evaluations and TLS sessions of the current time, as the JSON lines that a mail server feeds:
 * `node contrib/tour/evaluations.js | npx mailreportctl feed -`.
 */
const now = Math.floor(Date.now() / 1000);
const policy = {
  domain: "sender.example",
  p: "reject",
  adkim: "r",
  aspf: "r",
  discovery: "treewalk",
  rua: ["mailto:dmarc@sender.example"],
};
const good = {
  source_ip: "192.0.2.10",
  header_from: "sender.example",
  envelope_from: "bounce.sender.example",
  envelope_to: "example.org",
  disposition: "none",
  dkim_aligned: true,
  spf_aligned: true,
  dkim: [{ domain: "sender.example", selector: "s1", result: "pass" }],
  spf: { domain: "bounce.sender.example", result: "pass", scope: "mfrom" },
};
const forged = {
  source_ip: "198.51.100.200",
  header_from: "sender.example",
  envelope_from: "elsewhere.example",
  envelope_to: "example.org",
  disposition: "reject",
  dkim_aligned: false,
  spf_aligned: false,
  dkim: [],
  spf: { domain: "elsewhere.example", result: "fail", scope: "mfrom" },
};
const lines = [
  ...Array.from({ length: 12 }, (_, i) => ({
    v: 1,
    kind: "dmarc",
    id: `good-${now}-${i}`,
    time: now,
    policy,
    ...good,
  })),
  ...Array.from({ length: 3 }, (_, i) => ({
    v: 1,
    kind: "dmarc",
    id: `forged-${now}-${i}`,
    time: now,
    policy,
    ...forged,
  })),
  {
    v: 1,
    kind: "tls",
    id: `tls-${now}`,
    time: now,
    domain: "sender.example",
    record: "v=TLSRPTv1; rua=mailto:tls@sender.example",
    policies: [
      {
        type: "sts",
        domain: "sender.example",
        strings: ["version: STSv1", "mode: enforce", "mx: mx.sender.example", "max_age: 86400"],
        mx: ["mx.sender.example"],
        success: 41,
        failure: 1,
        details: [
          {
            result: "certificate-expired",
            sending_ip: "192.0.2.1",
            mx: "mx.sender.example",
            receiving_ip: "203.0.113.25",
            count: 1,
          },
        ],
      },
    ],
  },
];
process.stdout.write(`${lines.map((line) => JSON.stringify(line)).join("\n")}\n`);
