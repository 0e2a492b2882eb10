/** A part of the daemon that others are handed before it exists. */

/**
 * Forwards every property to the part that `get` returns at that moment.
 * @param get throws a MailreportError while the part does not exist
 */
export function late<T extends object>(get: () => T): T {
  return new Proxy({} as T, {
    get(_target, key) {
      const part = get();
      const value: unknown = Reflect.get(part, key, part);
      return typeof value === "function" ? (value.bind(part) as unknown) : value;
    },
    has: (_target, key) => Reflect.has(get(), key),
  });
}
