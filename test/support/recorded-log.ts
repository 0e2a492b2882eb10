/** A log that keeps its lines. */
import type { Log, LogEvent, LogFields, LogLevel } from "../../src/lib/log/log.ts";

export interface RecordedLine {
  readonly level: LogLevel;
  readonly event: LogEvent;
  readonly fields: LogFields;
}

export interface RecordedLog extends Log {
  readonly lines: RecordedLine[];
  /** Lines of an event. */
  of(event: LogEvent): LogFields[];
}

export function recordedLog(): RecordedLog {
  const lines: RecordedLine[] = [];
  const at =
    (level: LogLevel, more: LogFields = {}) =>
    (event: LogEvent, fields: LogFields = {}): void => {
      lines.push({ level, event, fields: { ...more, ...fields } });
    };
  const logOf = (more: LogFields): Log => ({
    debug: at("debug", more),
    info: at("info", more),
    warn: at("warn", more),
    error: at("error", more),
    child: (fields) => logOf({ ...more, ...fields }),
  });
  return {
    ...logOf({}),
    lines,
    of: (event) => lines.filter((line) => line.event === event).map(({ fields }) => fields),
  };
}
