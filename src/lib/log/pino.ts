/** The log of the daemon: one line per event, JSON for machines or `key=value` for people, by pino. */
import { pino } from "pino";
import { errorText } from "../errors.ts";
import { cleanShort } from "../text.ts";
import type { Log, LogEvent, LogFields, LogLevel } from "./log.ts";
import { openLogOutput } from "./output.ts";

export interface LogOptions {
  readonly form: "json" | "human";
  readonly level: LogLevel;
  /** Append to this file in place of a descriptor. */
  readonly file?: string;
  /** 1 or 2, without `file`. */
  readonly descriptor: 1 | 2;
  /** Put the syslog level before each line, as journald reads it (sd-daemon(3)). */
  readonly journal: boolean;
  /** Colours, for terminals. */
  readonly colour: boolean;
}

export interface LogSink {
  readonly log: Log;
  setLevel(level: LogLevel): void;
  /** Opens the file again, after it was renamed. */
  reopen(): void;
  /** Writes the lines that are buffered: before the process ends. */
  flush(): void;
  /** The same, and waits until the reader of a pipe has taken all, at most `limitMs`. */
  drained(limitMs: number): Promise<void>;
  /** Lines that could not be written (full disk, closed pipe, a reader that stands still). */
  readonly lost: () => number;
}

const SYSLOG: Readonly<Record<LogLevel, string>> = { debug: "<7>", info: "<6>", warn: "<4>", error: "<3>" };
const COLOUR: Readonly<Record<LogLevel, string>> = {
  debug: "\u001b[2m",
  info: "",
  warn: "\u001b[33m",
  error: "\u001b[31m",
};
const LONGEST_VALUE = 2000;

/** Makes a value harmless for the log: strings escaped and cut, errors as text, nothing deeper than three levels. */
function harmless(value: unknown, depth = 0): unknown {
  if (typeof value === "string") return cleanShort(value, LONGEST_VALUE);
  if (value instanceof Error) return cleanShort(errorText(value), LONGEST_VALUE);
  if (value === null || typeof value !== "object") return typeof value === "bigint" ? Number(value) : value;
  if (depth >= 3) return "…";
  if (Array.isArray(value)) return value.slice(0, 100).map((item) => harmless(item, depth + 1));
  const safe: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value).slice(0, 100))
    safe[cleanShort(key, 100)] = harmless(item, depth + 1);
  return safe;
}

function human(line: string, colour: boolean): string {
  const { level, time, event, ...fields } = JSON.parse(line) as Record<string, unknown> & {
    level: LogLevel;
    time: string;
    event: LogEvent;
  };
  const pairs = Object.entries(fields).map(([key, value]) => {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    return `${key}=${/^[^\s"=]+$/.test(text) ? text : JSON.stringify(text)}`;
  });
  const text = `${time.slice(11, 19)} ${level.padEnd(5)} ${event}${pairs.length ? ` ${pairs.join(" ")}` : ""}`;
  return colour && COLOUR[level] ? `${COLOUR[level]}${text}\u001b[0m\n` : `${text}\n`;
}

/** Characters of buffered lines. */
const MAX_BUFFERED = 16_384;

/**
 * Opens the log. The lines of one turn of the event loop are written together at its end; errors at once. A full disk, a
 * closed pipe or a reader that stands still loses lines; the daemon goes on. Errors: `log.unwritable`.
 */
export function openLog(options: LogOptions): LogSink {
  let lost = 0;
  const { file, descriptor } = options;
  const output = openLogOutput(file === undefined ? { descriptor } : { file }, (lines) => {
    lost += lines;
  });
  let buffered = "";
  let waiting = false;
  const flush = (): void => {
    waiting = false;
    if (buffered === "") return;
    output.write(buffered);
    buffered = "";
  };
  const write = (line: string): void => {
    const level = /"level":"(\w+)"/.exec(line)?.[1] as LogLevel;
    const text = options.form === "human" ? human(line, options.colour) : line;
    buffered += options.journal ? SYSLOG[level] + text : text;
    if (level === "error" || buffered.length > MAX_BUFFERED) flush();
    else if (!waiting) {
      waiting = true;
      setImmediate(flush);
    }
  };
  const logger = pino(
    {
      base: null,
      level: options.level,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    { write },
  );
  // Children have a level of their own in pino; they are few (one per subsystem) and exist as long as the daemon.
  const loggers = [logger as pino.Logger];
  const wrap = (of: pino.Logger): Log => {
    const at =
      (level: LogLevel) =>
      (event: LogEvent, fields: LogFields = {}): void => {
        if (of.isLevelEnabled(level)) of[level]({ event, ...(harmless(fields) as object) });
      };
    return {
      debug: at("debug"),
      info: at("info"),
      warn: at("warn"),
      error: at("error"),
      child(fields) {
        const child = of.child(harmless(fields) as pino.Bindings);
        loggers.push(child);
        return wrap(child);
      },
    };
  };
  return {
    log: wrap(logger as pino.Logger),
    setLevel: (level) => {
      for (const each of loggers) each.level = level;
    },
    reopen: () => {
      flush();
      output.reopen();
    },
    flush,
    drained: (limitMs) => {
      flush();
      return output.drained(limitMs);
    },
    lost: () => lost,
  };
}
