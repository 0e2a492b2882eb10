/**
 * Frames between the daemon and the ingest process: length-prefixed, a JSON header and raw bytes behind it, so that
 * mails are never turned into JSON. Layout: u32 length of the rest, u32 length of the header, header, bytes.
 */
import type { Duplex } from "node:stream";

export interface Frame {
  readonly header: unknown;
  readonly body: Uint8Array;
}

const PREFIX = 8;
/** A frame is at most one batch of mails; anything longer is a bug. */
const LONGEST = 1 << 30;

/** Frames up to this are written as one piece, which is cheaper than to hand over many. */
const SMALL_FRAME = 65_536;

/** Writes one frame; the pieces of a large body are written one by one. */
export function writeFrame(stream: Duplex, header: unknown, body: readonly Uint8Array[] = []): void {
  const json = Buffer.from(JSON.stringify(header));
  const size = body.reduce((sum, piece) => sum + piece.byteLength, 0);
  const prefix = Buffer.allocUnsafe(PREFIX);
  prefix.writeUInt32BE(4 + json.length + size, 0);
  prefix.writeUInt32BE(json.length, 4);
  if (json.length + size <= SMALL_FRAME) {
    stream.write(Buffer.concat([prefix, json, ...body], PREFIX + json.length + size));
    return;
  }
  stream.cork();
  stream.write(prefix);
  stream.write(json);
  for (const piece of body) stream.write(piece);
  stream.uncork();
}

/**
 * Returns a function that takes chunks of bytes and calls `onFrame` with each whole frame. A frame is collected in one
 * buffer of its size, so that a large mail is in memory once. Throws on bytes that are no frames.
 */
export function frameReader(onFrame: (frame: Frame) => void): (chunk: Buffer) => void {
  let prefix: Buffer = Buffer.alloc(0);
  let frame: Buffer | undefined;
  let filled = 0;
  return (chunk) => {
    let at = 0;
    while (at < chunk.length) {
      if (!frame) {
        const wanted = chunk.subarray(at, at + PREFIX - prefix.length);
        prefix = prefix.length === 0 ? wanted : Buffer.concat([prefix, wanted]);
        at += wanted.length;
        if (prefix.length < PREFIX) return;
        const length = prefix.readUInt32BE(0) - 4;
        if (length > LONGEST) throw new RangeError("a frame is too long");
        if (at + length <= chunk.length) {
          onFrame(frameOf(prefix.readUInt32BE(4), chunk.subarray(at, at + length))); // nothing is copied
          at += length;
          prefix = Buffer.alloc(0);
          continue;
        }
        frame = Buffer.allocUnsafe(length);
        filled = 0;
      }
      const taken = chunk.copy(frame, filled, at);
      filled += taken;
      at += taken;
      if (filled < frame.length) return;
      const whole = frame;
      const header = prefix.readUInt32BE(4);
      frame = undefined;
      prefix = Buffer.alloc(0);
      onFrame(frameOf(header, whole));
    }
  };
}

/** @param header bytes of the JSON header, which comes first */
function frameOf(header: number, bytes: Buffer): Frame {
  return {
    header: JSON.parse(bytes.toString("utf8", 0, header)) as unknown,
    body: bytes.subarray(header),
  };
}
