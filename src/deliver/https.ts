/** Delivers a TLS report by https POST (RFC 8460 5.4): no redirects, no private addresses, a bounded wait. */
import { type RequestOptions, request } from "node:https";
import type { Resolver } from "../dns/resolver.ts";
import { cleanShort } from "../lib/text.ts";
import { isSpecialAddress } from "../model/ip.ts";

export interface HttpsReply {
  readonly result: "delivered" | "temporary" | "permanent";
  readonly code: number | null;
  readonly text: string;
  readonly ip: string | null;
  readonly tls: string | null;
}

const LONGEST_ANSWER = 65_536;
const TOTAL_MS = 60_000;
/** Statuses below 500 that ask to try again later. */
const LATER = new Set([408, 425, 429]);

/** Posts the compressed report. A certificate that does not verify does not stop it (RFC 8460 5.4: MAY). */
export async function postReport(
  uri: string,
  body: Uint8Array,
  resolver: Resolver,
  allowPrivate: boolean,
): Promise<HttpsReply> {
  const url = new URL(uri);
  const fail = (result: "temporary" | "permanent", text: string): HttpsReply => ({
    result,
    code: null,
    text,
    ip: null,
    tls: null,
  });
  const answers = await Promise.all([
    resolver.addresses(url.hostname, 4),
    resolver.addresses(url.hostname, 6),
  ]);
  const found = answers.flatMap((answer) => (answer.ok ? answer.records : []));
  const ip = found.find((address) => allowPrivate || !isSpecialAddress(address));
  if (ip === undefined) {
    if (found.length > 0) return fail("permanent", `${url.hostname} has no public address`);
    const temporary = answers.some((answer) => !answer.ok && answer.code === "temporary");
    return fail(temporary ? "temporary" : "permanent", `${url.hostname} has no address`);
  }
  return post(url, body, ip);
}

function post(url: URL, body: Uint8Array, ip: string): Promise<HttpsReply> {
  return new Promise((resolve) => {
    const options: RequestOptions = {
      method: "POST",
      host: ip, // the address that was checked, not one looked up again
      servername: url.hostname,
      port: url.port || 443,
      path: url.pathname + url.search,
      rejectUnauthorized: false,
      timeout: 10_000,
      signal: AbortSignal.timeout(TOTAL_MS),
      headers: {
        host: url.host,
        "content-type": "application/tlsrpt+gzip",
        "content-length": body.byteLength,
      },
    };
    let tls: string | null = null;
    const req = request(options, (response) => {
      const code = response.statusCode ?? 0;
      let size = 0;
      response.on("data", (chunk: Buffer) => {
        size += chunk.length;
        if (size > LONGEST_ANSWER) response.destroy();
      });
      response.on("error", () => {}); // only the status counts
      const later = LATER.has(code) || code >= 500;
      const result = code >= 200 && code < 300 ? "delivered" : later ? "temporary" : "permanent";
      resolve({ result, code, text: cleanShort(`${code} ${response.statusMessage ?? ""}`), ip, tls });
    });
    req.on("socket", (socket) => {
      socket.once("secureConnect", () => {
        tls = (socket as import("node:tls").TLSSocket).getProtocol();
      });
    });
    req.on("timeout", () => req.destroy(new Error("no answer in time")));
    req.on("error", (error) =>
      resolve({ result: "temporary", code: null, text: cleanShort(error.message), ip, tls }),
    );
    req.end(body);
  });
}
