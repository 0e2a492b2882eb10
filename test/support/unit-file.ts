/** Reads a systemd unit file for tests. */
import { readFileSync } from "node:fs";

export class UnitFile {
  readonly #values = new Map<string, string[]>();

  constructor(path: string) {
    for (const line of readFileSync(path, "utf8").split("\n")) {
      const [, key, value] = /^(\w+)=(.*)$/.exec(line) ?? [];
      if (key !== undefined) this.#values.set(key, [...(this.#values.get(key) ?? []), value!]);
    }
  }

  /** The last value of a key. Errors: the unit does not have it. */
  value(key: string): string {
    const value = this.#values.get(key)?.at(-1);
    if (value === undefined) throw new Error(`the unit has no ${key}=`);
    return value;
  }

  /** The words of a value. */
  words(key: string): string[] {
    return this.value(key).split(/\s+/).filter(Boolean);
  }
}
