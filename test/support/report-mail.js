/** Generates report mails for tests and benchmarks, in the format of large reporters. Plain JavaScript. */
import { gzipSync } from "node:zlib";

/** A DMARC report as XML. @param {{id: string, org?: string, domain?: string, records?: number, begin?: number}} options */
export function dmarcXml({
  id,
  org = "reporter.example",
  domain = "example.org",
  records = 1,
  begin = 1795046400,
}) {
  const rows = [];
  for (let i = 0; i < records; i++) {
    const a = (i >> 16) & 255;
    const b = (i >> 8) & 255;
    rows.push(`  <record>
    <row>
      <source_ip>198.${a}.${b}.${i & 255}</source_ip>
      <count>${1 + (i % 7)}</count>
      <policy_evaluated>
        <disposition>none</disposition>
        <dkim>${i % 3 === 0 ? "fail" : "pass"}</dkim>
        <spf>${i % 2 === 0 ? "pass" : "fail"}</spf>
      </policy_evaluated>
    </row>
    <identifiers>
      <header_from>${domain}</header_from>
    </identifiers>
    <auth_results>
      <dkim>
        <domain>${domain}</domain>
        <result>${i % 3 === 0 ? "fail" : "pass"}</result>
        <selector>s${i % 5}</selector>
      </dkim>
      <spf>
        <domain>bounce.${domain}</domain>
        <result>${i % 2 === 0 ? "pass" : "fail"}</result>
      </spf>
    </auth_results>
  </record>`);
  }
  return `<?xml version="1.0" encoding="UTF-8" ?>
<feedback>
  <version>1.0</version>
  <report_metadata>
    <org_name>${org}</org_name>
    <email>noreply-dmarc@${org}</email>
    <report_id>${id}</report_id>
    <date_range>
      <begin>${begin}</begin>
      <end>${begin + 86399}</end>
    </date_range>
  </report_metadata>
  <policy_published>
    <domain>${domain}</domain>
    <adkim>r</adkim>
    <aspf>r</aspf>
    <p>reject</p>
    <sp>reject</sp>
    <pct>100</pct>
  </policy_published>
${rows.join("\n")}
</feedback>
`;
}

/** An RFC 5322 message with one base64 attachment. @param {{name: string, type: string, content: Uint8Array, subject: string, from?: string, to?: string}} options */
export function mailWith({
  name,
  type,
  content,
  subject,
  from = "noreply-dmarc@reporter.example",
  to = "dmarc@example.org",
}) {
  const body = Buffer.from(content).toString("base64").replace(/.{76}/g, "$&\r\n");
  return Buffer.from(
    `From: ${from}\r\nTo: ${to}\r\nSubject: ${subject}\r\nDate: Fri, 20 Nov 2026 02:00:00 +0000\r\nMessage-ID: <${name}@reporter.example>\r\nMIME-Version: 1.0\r\nContent-Type: ${type}; name="${name}"\r\nContent-Disposition: attachment; filename="${name}"\r\nContent-Transfer-Encoding: base64\r\n\r\n${body}\r\n`,
  );
}

/** A DMARC report mail, gzipped. @param {Parameters<typeof dmarcXml>[0]} options */
export function dmarcMail(options) {
  const { id, org = "reporter.example", domain = "example.org", begin = 1795046400 } = options;
  return mailWith({
    name: `${org}!${domain}!${begin}!${begin + 86399}.xml.gz`,
    type: "application/gzip",
    content: gzipSync(dmarcXml(options)),
    subject: `Report Domain: ${domain} Submitter: ${org} Report-ID: ${id}`,
  });
}
