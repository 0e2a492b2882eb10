/** The bytes of one mail: bounded while they come, complete or nothing. */
import type { Readable } from "node:stream";
import type { Clock } from "../../lib/clock.ts";

export type DataResult =
  | { readonly ok: true; readonly raw: Buffer }
  | { readonly ok: false; readonly why: "too-large" | "cut" | "too-slow" };

export interface DataLimits {
  readonly maxSize: number;
  /** Bytes a second, on average, after the grace. */
  readonly minRate: number;
  readonly timeoutMs: number;
}

const GRACE_MS = 30_000;
const CHECK_MS = 5000;
/** Past the size limit the rest is discarded, up to here; then the connection is cut. */
const PATIENCE = 1.1;

/**
 * Reads a mail behind `prefix`, which becomes its begin. Only `end` is completeness: a connection that closes gives
 * `cut`. `stop` ends the connection.
 */
export function readData(
  stream: Readable,
  prefix: Buffer,
  limits: DataLimits,
  clock: Clock,
  stop: () => void,
): Promise<DataResult> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [prefix];
    let size = prefix.length;
    let seen = 0;
    let done = false;
    const from = clock.monotonic();
    let lastByte = from;
    const finish = (result: DataResult): void => {
      if (done) return;
      done = true;
      timer.cancel();
      resolve(result);
    };
    const check = (): void => {
      const now = clock.monotonic();
      const slow = now - from > GRACE_MS && (seen / (now - from)) * 1000 < limits.minRate;
      if (slow || now - lastByte > limits.timeoutMs) {
        finish({ ok: false, why: "too-slow" });
        stop();
      } else timer = clock.after(CHECK_MS, check);
    };
    let timer = clock.after(CHECK_MS, check);
    stream.on("data", (chunk: Buffer) => {
      seen += chunk.length;
      lastByte = clock.monotonic();
      if (seen > limits.maxSize) {
        chunks.length = 0;
        if (seen > limits.maxSize * PATIENCE + 65_536) {
          finish({ ok: false, why: "too-large" });
          stop();
        }
        return;
      }
      size += chunk.length;
      chunks.push(chunk);
    });
    stream.on("end", () => {
      finish(
        seen > limits.maxSize
          ? { ok: false, why: "too-large" }
          : { ok: true, raw: Buffer.concat(chunks, size) },
      );
    });
    stream.on("error", () => finish({ ok: false, why: "cut" }));
    stream.on("close", () => finish({ ok: false, why: "cut" }));
  });
}

/** Received fields of a header, and whether a bare CR stands before a line that begins with a dot (smuggling). */
export function inspect(raw: Buffer): { readonly hops: number; readonly smuggled: boolean } {
  const end = raw.indexOf("\r\n\r\n");
  const header = raw.toString("latin1", 0, end < 0 ? Math.min(raw.length, 262_144) : end);
  const hops = header.match(/^received:/gim)?.length ?? 0;
  return { hops, smuggled: raw.includes("\n.\r") && /\r(?!\n)/.test(raw.toString("latin1")) };
}
