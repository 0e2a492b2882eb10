/** Asks real name servers, by node:dns. */
import { promises } from "node:dns";
import { type DnsAnswer, type MxRecord, nodata, nxdomain, type Resolver, temporary } from "./resolver.ts";

export interface SystemResolverOptions {
  /** "address" or "address:port"; empty: those of the system. */
  readonly servers: readonly string[];
  readonly timeoutMs: number;
  readonly tries: number;
}

/** A resolver with a short time limit: that of the platform is 28 seconds. */
export function systemResolver({ servers, timeoutMs, tries }: SystemResolverOptions): Resolver {
  const resolver = new promises.Resolver({ timeout: timeoutMs, tries });
  if (servers.length > 0) resolver.setServers([...servers]);
  async function ask<T>(name: string, question: () => Promise<readonly T[]>): Promise<DnsAnswer<T>> {
    try {
      return { ok: true, records: await question() };
    } catch (error) {
      const code = (error as { code?: string }).code ?? "";
      if (code === "ENOTFOUND") return nxdomain(name);
      if (code === "ENODATA") return nodata(name);
      if (code === "EBADNAME") return nxdomain(name);
      return temporary(`${name}: ${code || String(error)}`);
    }
  }
  return {
    txt: (name) =>
      ask(name, async () => (await resolver.resolveTxt(name)).map((strings) => strings.join(""))),
    mx: (name) =>
      ask<MxRecord>(name, async () =>
        (await resolver.resolveMx(name)).map(({ priority, exchange }) => ({
          preference: priority,
          exchange: exchange === "." ? "" : exchange,
        })),
      ),
    addresses: (name, family) =>
      ask(name, () => (family === 4 ? resolver.resolve4(name) : resolver.resolve6(name))),
    ptr: (ip) => ask(ip, () => resolver.reverse(ip)),
  };
}
