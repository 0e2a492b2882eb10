/** Name resolution that a reload can replace: other parts keep the same resolver object. */
import { readFileSync } from "node:fs";
import type { Config } from "../config/schema.ts";
import { cachingResolver } from "../dns/cache.ts";
import type { Resolver } from "../dns/resolver.ts";
import { systemResolver } from "../dns/system.ts";
import { parseZone, zoneResolver } from "../dns/zone.ts";
import type { Clock } from "../lib/clock.ts";
import { errorText, MailreportError } from "../lib/errors.ts";

export interface Names {
  readonly resolver: Resolver;
  /**
   * Builds the resolver of another configuration, the zone file read anew and with an empty cache; the function that
   * it returns puts it in place. Errors: `config.unreadable`, `config.invalid`.
   */
  prepare(config: Config): () => void;
}

/** Errors: those of `Names.prepare`. */
export function makeNames(config: Config, clock: Clock): Names {
  let current = makeResolver(config, clock);
  return {
    resolver: {
      txt: (name) => current.txt(name),
      mx: (name) => current.mx(name),
      addresses: (name, family) => current.addresses(name, family),
      ptr: (ip) => current.ptr(ip),
    },
    prepare(next) {
      const made = makeResolver(next, clock);
      return () => {
        current = made;
      };
    },
  };
}

/** Name servers behind a cache; a zone file before them or in their place. */
function makeResolver({ dns }: Config, clock: Clock): Resolver {
  const { servers, timeout, tries, zone_file, zone_only } = dns;
  const outside = zone_only
    ? undefined
    : cachingResolver(systemResolver({ servers, timeoutMs: timeout, tries }), clock);
  if (zone_file === undefined) return outside ?? zoneResolver([]);
  let text: string;
  try {
    text = readFileSync(zone_file, "utf8");
  } catch (cause) {
    throw new MailreportError("config.unreadable", { detail: `${zone_file}: ${errorText(cause)}`, cause });
  }
  try {
    return zoneResolver(parseZone(text, zone_file), outside);
  } catch (cause) {
    throw new MailreportError("config.invalid", { detail: errorText(cause), cause });
  }
}
