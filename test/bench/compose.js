/** Composed and signed report mails per second, with read-back, compared with RSA signatures alone. */
import { generateKeyPairSync, sign } from "node:crypto";
import { composeDocuments, composeMail } from "../../dist/format/compose/compose.js";
import { generateSigningKey, loadSigningKey } from "../../dist/format/mail/dkim-sign.js";

function input(rows) {
  return {
    kind: "dmarc",
    identity: {
      domain: "example.org",
      submitter: "mx.example.org",
      orgName: "Example",
      from: "noreply@example.org",
      contactInfo: null,
      generator: "bench",
    },
    policyDomain: "sender.example",
    begin: 1795046400,
    end: 1795132799,
    policy: {
      kind: "dmarc",
      rua: [],
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
    rows: Array.from({ length: rows }, (_, i) => ({
      kind: "dmarc",
      count: 1 + (i % 9),
      row: {
        sourceIp: `198.51.${i >> 8}.${i & 255}`,
        disposition: "none",
        dkimAligned: true,
        spfAligned: i % 2 === 0,
        reasons: [],
        headerFrom: "sender.example",
        envelopeFrom: "bounce.sender.example",
        envelopeTo: "example.org",
        dkim: [{ domain: "sender.example", selector: "s1", result: "pass", humanResult: null }],
        spf: { domain: "bounce.sender.example", result: "pass", humanResult: null },
      },
    })),
    note: null,
    profile: "both",
    maxMessageSize: 10 << 20,
    reportId: () => "d20261119abcdefghijklm",
  };
}

function rate(seconds, work) {
  for (let i = 0; i < 50; i++) work();
  let n = 0;
  const end = performance.now() + seconds * 1000;
  const begin = performance.now();
  while (performance.now() < end) {
    work();
    n++;
  }
  return (n / (performance.now() - begin)) * 1000;
}

export async function run(print) {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const bare = rate(1, () => sign("sha256", Buffer.from("x"), privateKey));
  for (const type of ["rsa", "ed25519"]) {
    const key = loadSigningKey(generateSigningKey(type), "example.org", "k");
    for (const rows of [10, 250]) {
      const data = input(rows);
      const r = rate(2, () =>
        composeMail(data, composeDocuments(data)[0], "dmarc@sender.example", 1, 1795140000, [key]),
      );
      print(
        `${rows} records, ${type}: ${r.toFixed(0)} reports/s (${((r / bare) * 100).toFixed(0)} % of ${bare.toFixed(0)} RSA signatures/s alone)`,
      );
    }
  }
}
