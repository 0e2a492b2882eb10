/** Longest wait for a condition. It only ends a test that would fail anyway, so it allows for a loaded machine. */
const LIMIT_MS = 90_000;

/** Waits until `check` returns something truthy, looking every 20 ms; throws after `ms` with the last error. */
export async function until<T>(
  what: string,
  check: () => T | Promise<T>,
  ms = LIMIT_MS,
): Promise<NonNullable<T>> {
  const end = performance.now() + ms;
  let last: unknown;
  for (;;) {
    try {
      const value = await check();
      if (value) return value as NonNullable<T>;
    } catch (error) {
      last = error;
    }
    if (performance.now() > end) throw new Error(`${what}: not so after ${ms} ms`, { cause: last });
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
