/** Sizes and durations as operators write them. */

const SIZE = /^(\d{1,15})\s*(?:([kmgt])(i?b)?|b)?$/i;
const DURATION_PART = /(\d{1,12})\s*(ms|s|m|h|d|w)/gy;
const MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};

/** "25M", "64 KiB", "1000" → bytes (powers of 1024); undefined when it is none. */
export function parseSize(text: string): number | undefined {
  const match = SIZE.exec(text.trim());
  if (!match) return undefined;
  const power = match[2] ? "kmgt".indexOf(match[2].toLowerCase()) + 1 : 0;
  const bytes = Number(match[1]) * 1024 ** power;
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** "90s", "1h30m", "24 h", "0" → milliseconds; undefined when it is none. */
export function parseDuration(text: string): number | undefined {
  const trimmed = text.trim();
  if (trimmed === "0") return 0;
  let total = 0;
  DURATION_PART.lastIndex = 0;
  let end = 0;
  for (;;) {
    while (trimmed[end] === " ") end++;
    if (end === trimmed.length) return end === 0 ? undefined : total;
    DURATION_PART.lastIndex = end;
    const match = DURATION_PART.exec(trimmed);
    if (!match) return undefined;
    total += Number(match[1]) * MS[match[2]!]!;
    end = DURATION_PART.lastIndex;
  }
}

/** Milliseconds → "2d3h", "5m", "12s", at most two units. */
export function formatDuration(ms: number): string {
  let left = Math.round(Math.abs(ms) / 1000);
  const parts: string[] = [];
  for (const [unit, size] of [
    ["d", 86400],
    ["h", 3600],
    ["m", 60],
    ["s", 1],
  ] as const) {
    const n = Math.floor(left / size);
    if (n > 0) parts.push(`${n}${unit}`);
    left -= n * size;
  }
  return (ms < 0 ? "-" : "") + (parts.slice(0, 2).join("") || "0s");
}

/** Milliseconds → "1d2h30m", "250ms", "0": exactly what `parseDuration` takes for that number. */
export function exactDuration(ms: number): string {
  let left = ms;
  let text = "";
  for (const unit of ["d", "h", "m", "s", "ms"] as const) {
    const n = Math.floor(left / MS[unit]!);
    if (n > 0) text += `${n}${unit}`;
    left -= n * MS[unit]!;
  }
  return text === "" ? "0" : text;
}

/** Bytes → "25M", "1000": exactly what `parseSize` takes for that number. */
export function exactSize(bytes: number): string {
  for (const [power, unit] of [
    [4, "T"],
    [3, "G"],
    [2, "M"],
    [1, "K"],
  ] as const)
    if (bytes > 0 && bytes % 1024 ** power === 0) return `${bytes / 1024 ** power}${unit}`;
  return String(bytes);
}

/** Epoch seconds → RFC 3339 in UTC, whole seconds. */
export function iso(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace(".000Z", "Z");
}
