/** Where the lines of the log go: a file or terminal, written at once; or a pipe or socket, for whose reader nobody waits. */
import { fstatSync } from "node:fs";
import { Socket } from "node:net";
import { pino } from "pino";

export interface LogOutput {
  /** Whole lines. */
  write(lines: string): void;
  /** Opens the file anew, after it was moved away. */
  reopen(): void;
  /** Resolves when all is written, or after `limitMs`. */
  drained(limitMs: number): Promise<void>;
}

export type LogTarget = { readonly file: string } | { readonly descriptor: number };

/** Bytes that wait for the reader of a pipe; what comes on top is lost. */
const MOST_WAITING = 4 << 20;

/** @param onLost told how many lines could not be written (full disk, closed pipe, reader that does not read) */
export function openLogOutput(target: LogTarget, onLost: (lines: number) => void): LogOutput {
  return "descriptor" in target && isPipe(target.descriptor)
    ? pipeOutput(target.descriptor, onLost)
    : fileOutput(target, onLost);
}

function isPipe(descriptor: number): boolean {
  const stat = fstatSync(descriptor);
  return stat.isFIFO() || stat.isSocket();
}

function fileOutput(target: LogTarget, onLost: (lines: number) => void): LogOutput {
  const destination = pino.destination({
    ...("file" in target ? { dest: target.file, append: true, mkdir: false } : { fd: target.descriptor }),
    sync: true,
  });
  destination.on("error", () => onLost(1));
  return {
    write(lines) {
      try {
        destination.write(lines);
      } catch {
        onLost(count(lines)); // nothing else can be told where the log itself fails
      }
    },
    reopen() {
      if ("file" in target) destination.reopen();
    },
    async drained() {},
  };
}

/**
 * What the kernel takes is written in the call itself; the rest waits in memory, so that a reader that stands still
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
  socket.on("error", () => {}); // told to each write
  return {
    write(lines) {
      if (socket.destroyed || socket.writableLength + lines.length > MOST_WAITING) onLost(count(lines));
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
