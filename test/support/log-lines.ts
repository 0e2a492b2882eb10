/** A log that keeps its lines. */
import type { Log, LogEvent, LogFields, LogLevel } from "../../src/lib/log/log.ts";

export interface KeptLine {
  readonly level: LogLevel;
  readonly event: LogEvent;
  readonly fields: LogFields;
}

export function keptLog(lines: KeptLine[] = []): { readonly log: Log; readonly lines: KeptLine[] } {
  const at =
    (level: LogLevel) =>
    (event: LogEvent, fields: LogFields = {}) =>
      void lines.push({ level, event, fields });
  const log: Log = {
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    child: () => log,
  };
  return { log, lines };
}
