/** Destinations of the log: a file or terminal, written synchronously; a pipe or socket, of which the reader never delays us. */
import { fstatSync } from "node:fs";
import { Socket } from "node:net";
import { pino } from "pino";
import { errorText, MailreportError } from "../errors.ts";

export interface LogOutput {
  /** Whole lines. */
  write(lines: string): void;
  /** Opens the file again, after it was renamed. When that fails, lines go to the old file, and one is counted as lost. */
  reopen(): void;
  /** Resolves when all is written, or after `limitMs`. */
  drained(limitMs: number): Promise<void>;
}

export type LogTarget = { readonly file: string } | { readonly descriptor: number };

/** Most bytes that wait for the reader of a pipe; further lines are lost. */
const MAX_WAITING = 4 << 20;

/**
 * @param onLost called with the number of lines that could not be written (full disk, closed pipe, a reader that stands still)
 * Errors: `log.unwritable` when the file cannot be opened.
 */
export function openLogOutput(target: LogTarget, onLost: (lines: number) => void): LogOutput {
  return "descriptor" in target && isPipe(target.descriptor)
    ? pipeOutput(target.descriptor, onLost)
    : fileOutput(target, onLost);
}

function isPipe(descriptor: number): boolean {
  const stat = fstatSync(descriptor);
  return stat.isFIFO() || stat.isSocket();
}

function openFile(target: LogTarget, onLost: (lines: number) => void) {
  try {
    const where =
      "file" in target ? { dest: target.file, append: true, mkdir: false } : { fd: target.descriptor };
    const destination = pino.destination({ ...where, sync: true });
    destination.on("error", () => onLost(1));
    return destination;
  } catch (cause) {
    throw new MailreportError("log.unwritable", { detail: errorText(cause), cause });
  }
}

function fileOutput(target: LogTarget, onLost: (lines: number) => void): LogOutput {
  let destination = openFile(target, onLost);
  return {
    write(lines) {
      try {
        destination.write(lines);
      } catch {
        onLost(count(lines)); // there is no other place to report it
      }
    },
    reopen() {
      if (!("file" in target)) return;
      try {
        const old = destination;
        destination = openFile(target, onLost);
        old.end();
      } catch {
        onLost(1);
      }
    },
    async drained() {},
  };
}

/**
 * What fits into the pipe is written in the call itself; the rest waits in memory, so that a reader that stands still
 * never stops the daemon, as a blocking write would.
 */
function pipeOutput(descriptor: number, onLost: (lines: number) => void): LogOutput {
  const socket = new Socket({ fd: descriptor, readable: false, writable: true });
  const waiters: (() => void)[] = [];
  const wake = (): void => {
    for (const done of waiters.splice(0)) done();
  };
  const written = (error?: Error | null): void => {
    if (error) onLost(1);
    if (error || socket.writableLength === 0) wake();
  };
  socket.unref();
  socket.on("error", () => {}); // each write reports it
  return {
    write(lines) {
      if (socket.destroyed || socket.writableLength + lines.length > MAX_WAITING) onLost(count(lines));
      else socket.write(lines, written);
    },
    reopen() {},
    drained(limitMs) {
      if (socket.destroyed || socket.writableLength === 0) return Promise.resolve();
      return new Promise((resolve) => {
        const timer = setTimeout(resolve, limitMs);
        waiters.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    },
  };
}

function count(lines: string): number {
  return lines.split("\n").length - 1;
}
