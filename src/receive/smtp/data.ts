/** Receives the bytes of one mail, within limits; an incomplete mail is discarded. */
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

/** The session of a mail: `watch` is called about once a second, and `cut` ends it. */
export interface WatchedSession {
  watch: ((now: number) => void) | undefined;
  cut(): void;
}

const GRACE_MS = 30_000;
/** Past the size limit the rest is discarded, up to here; then the connection is cut. */
const PATIENCE = 1.1;
/** Header bytes in which Received fields are counted. */
const HEADER_BYTES = 262_144;

/**
 * Receives a mail; `prefix` is put before it. It is complete only at `end`: a connection that closes gives `cut`. A
 * connection that is too slow or sends without end is cut.
 */
export function readData(
  stream: Readable,
  prefix: Buffer,
  limits: DataLimits,
  clock: Clock,
  session: WatchedSession,
): Promise<DataResult> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [prefix];
    let seen = 0;
    let done = false;
    const from = clock.monotonic();
    let lastByte = from;
    const finish = (result: DataResult): void => {
      if (done) return;
      done = true;
      session.watch = undefined;
      resolve(result);
    };
    const stop = (why: "too-large" | "too-slow"): void => {
      finish({ ok: false, why });
      session.cut();
    };
    const cut = (): void => finish({ ok: false, why: "cut" });
    session.watch = (now) => {
      const slow = now - from > GRACE_MS && (seen / (now - from)) * 1000 < limits.minRate;
      if (slow || now - lastByte > limits.timeoutMs) stop("too-slow");
    };
    stream.on("data", (chunk: Buffer) => {
      seen += chunk.length;
      lastByte = clock.monotonic();
      if (seen <= limits.maxSize) {
        chunks.push(chunk);
        return;
      }
      chunks.length = 0;
      if (seen > limits.maxSize * PATIENCE + 65_536) stop("too-large");
    });
    stream.on("end", () => {
      finish(
        seen > limits.maxSize
          ? { ok: false, why: "too-large" }
          : { ok: true, raw: Buffer.concat(chunks, prefix.length + seen) },
      );
    });
    stream.on("error", cut);
    stream.on("close", cut);
  });
}

const LF = 0x0a;
const CR = 0x0d;
const DOT_LINE = Buffer.from("\n.\r");

/** Received fields of a header, and whether a bare CR stands in a mail with a line of one dot (smuggling). */
export function inspect(raw: Buffer): { readonly hops: number; readonly smuggled: boolean } {
  return { hops: receivedFields(raw), smuggled: raw.includes(DOT_LINE) && hasBareCr(raw) };
}

/** Counts in place; most mails are too large to make a string of them for this. */
function receivedFields(raw: Buffer): number {
  const most = Math.min(raw.length, HEADER_BYTES);
  let count = 0;
  for (let at = 0; at < most; ) {
    const first = raw[at]!;
    if (first === LF || (first === CR && raw[at + 1] === LF)) break;
    if ((first === 0x52 || first === 0x72) && isReceived(raw, at)) count++;
    const end = raw.indexOf(LF, at);
    if (end < 0) break;
    at = end + 1;
  }
  return count;
}

function isReceived(raw: Buffer, at: number): boolean {
  return raw.toString("latin1", at, at + 9).toLowerCase() === "received:";
}

function hasBareCr(raw: Buffer): boolean {
  for (let at = raw.indexOf(CR); at >= 0; at = raw.indexOf(CR, at + 1)) {
    if (raw[at + 1] !== LF) return true;
  }
  return false;
}
