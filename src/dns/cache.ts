/** A cache in front of a resolver: equal questions are asked once, and the number of concurrent ones is limited. */
import type { Clock } from "../lib/clock.ts";
import type { DnsAnswer, Resolver } from "./resolver.ts";

/** The platform does not return TTLs; these are short enough for operators who change records. */
const POSITIVE_MS = 300_000;
const NEGATIVE_MS = 60_000;
const ENTRIES = 10_000;
const MAX_RUNNING = 200;

interface Entry {
  readonly answer: Promise<DnsAnswer<unknown>>;
  until: number;
}

export function cachingResolver(next: Resolver, clock: Clock): Resolver {
  const entries = new Map<string, Entry>();
  let running = 0;
  const waiting: (() => void)[] = [];

  async function limited<T>(work: () => Promise<T>): Promise<T> {
    if (running >= MAX_RUNNING) await new Promise<void>((resolve) => waiting.push(resolve));
    running++;
    try {
      return await work();
    } finally {
      running--;
      waiting.shift()?.();
    }
  }

  function ask<T>(key: string, question: () => Promise<DnsAnswer<T>>): Promise<DnsAnswer<T>> {
    const known = entries.get(key);
    if (known && known.until > clock.monotonic()) return known.answer as Promise<DnsAnswer<T>>;
    if (entries.size >= ENTRIES) entries.delete(entries.keys().next().value!);
    const entry: Entry = { answer: limited(question), until: Number.POSITIVE_INFINITY };
    entries.delete(key);
    entries.set(key, entry);
    entry.answer.then(
      (answer) => {
        if (!answer.ok && answer.code === "temporary") entries.delete(key);
        else entry.until = clock.monotonic() + (answer.ok ? POSITIVE_MS : NEGATIVE_MS);
      },
      () => entries.delete(key),
    );
    return entry.answer as Promise<DnsAnswer<T>>;
  }

  return {
    txt: (name) => ask(`TXT ${name}`, () => next.txt(name)),
    mx: (name) => ask(`MX ${name}`, () => next.mx(name)),
    addresses: (name, family) => ask(`A${family} ${name}`, () => next.addresses(name, family)),
    ptr: (ip) => ask(`PTR ${ip}`, () => next.ptr(ip)),
  };
}
