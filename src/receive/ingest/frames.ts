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

/** Writes one frame; the pieces of the body are written without joining them. */
export function writeFrame(stream: Duplex, header: unknown, body: readonly Uint8Array[] = []): void {
  const json = Buffer.from(JSON.stringify(header));
  const size = body.reduce((sum, piece) => sum + piece.byteLength, 0);
  const prefix = Buffer.allocUnsafe(PREFIX);
  prefix.writeUInt32BE(4 + json.length + size, 0);
  prefix.writeUInt32BE(json.length, 4);
  stream.cork();
  stream.write(prefix);
  stream.write(json);
  for (const piece of body) stream.write(piece);
  stream.uncork();
}

/** Takes bytes as they come and hands over whole frames. */
export function frameReader(onFrame: (frame: Frame) => void): (chunk: Buffer) => void {
  let chunks: Buffer[] = [];
  let size = 0;
  return (chunk) => {
    chunks.push(chunk);
    size += chunk.length;
    for (;;) {
      if (size < PREFIX) return;
      if (chunks[0]!.length < PREFIX) chunks = [Buffer.concat(chunks)];
      const length = chunks[0]!.readUInt32BE(0);
      if (length > LONGEST) throw new RangeError("a frame is too long");
      if (size < 4 + length) return;
      const all = chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
      const header = all.readUInt32BE(4);
      const frame = {
        header: JSON.parse(all.toString("utf8", PREFIX, PREFIX + header)) as unknown,
        body: all.subarray(PREFIX + header, 4 + length),
      };
      const rest = all.subarray(4 + length);
      chunks = rest.length > 0 ? [rest] : [];
      size = rest.length;
      onFrame(frame);
    }
  };
}
