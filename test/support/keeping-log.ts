/** A log that keeps its warnings and errors, as objects with `level` and `event`. */
import type { Log, LogEvent, LogFields } from "../../src/lib/log/log.ts";

export function keepingLog(lines: Record<string, unknown>[], more: LogFields = {}): Log {
  const keep = (level: string) => (event: LogEvent, fields?: LogFields) =>
    void lines.push({ level, event, ...more, ...fields });
  return {
    debug() {},
    info() {},
    warn: keep("warn"),
    error: keep("error"),
    child: (fields) => keepingLog(lines, { ...more, ...fields }),
  };
}
