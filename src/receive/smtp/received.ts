/** The Received field that we add (RFC 5321 4.4). */
import { clean } from "../../lib/text.ts";

export interface TraceFacts {
  readonly helo: string;
  readonly remoteIp: string | null;
  readonly by: string;
  /** SMTP, ESMTP, ESMTPS, LMTP (RFC 3848). */
  readonly protocol: string;
  /** Named only when there is one recipient. */
  readonly to: string | null;
  /** Epoch seconds. */
  readonly time: number;
  readonly id: string;
}

/** `Received: from … by … with … id …; date`, folded, ending in CRLF. */
export function receivedField({ helo, remoteIp, by, protocol, to, time, id }: TraceFacts): string {
  const from =
    remoteIp === null ? safe(helo) : `${safe(helo)} ([${remoteIp.includes(":") ? "IPv6:" : ""}${remoteIp}])`;
  const recipient = to === null ? "" : `\r\n\tfor <${safe(to)}>`;
  return `Received: from ${from}\r\n\tby ${safe(by)} (mailreportd) with ${protocol} id ${safe(id)}${recipient};\r\n\t${dateOf(time)}\r\n`;
}

/** Printable ASCII without blanks, at most 255 characters. */
function safe(text: string): string {
  if (/^[\x21-\x7e]{0,255}$/.test(text)) return text; // nearly always
  return clean(text)
    .replace(/[^\x21-\x7e]/g, "?")
    .slice(0, 255);
}

let lastTime = Number.NaN;
let lastDate = "";

/** RFC 5322 3.3. Cached, because many mails come within one second. */
function dateOf(time: number): string {
  if (time !== lastTime) {
    lastTime = time;
    lastDate = new Date(time * 1000).toUTCString().replace("GMT", "+0000");
  }
  return lastDate;
}
