/**
 * What a process wrote to its files and what it acknowledged, from a system-call trace of strace; and the disks that a
 * power cut may leave at any point of it: what was synced is there, of the rest some writes are lost, in any
 * combination, and one may be torn.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";

/** Options of strace for `readTrace`. */
export const STRACE = [
  ...["-f", "-y", "-xx", "-s", "1000000"],
  ...["-e", "trace=openat,pwrite64,write,writev,fsync,fdatasync,ftruncate,unlink"],
];

type Operation =
  | { readonly op: "write"; readonly path: string; readonly offset: number; readonly data: Buffer }
  | { readonly op: "truncate"; readonly path: string; readonly size: number }
  | { readonly op: "unlink"; readonly path: string }
  /** `from`: only what was done before this operation is on disk when the sync returns. */
  | { readonly op: "sync"; readonly path: string; readonly from: number }
  /** An SMTP reply that acknowledges mails, by their numbers. */
  | { readonly op: "acknowledge"; readonly mails: readonly number[] };

export interface Trace {
  readonly operations: readonly Operation[];
  /** All numbers that were ever acknowledged. */
  readonly acknowledged: number;
}

const ACKNOWLEDGED = /250 2\.0\.0 Ok: kept as m(\d+)/g;

function bytesOf(hex: string): Buffer {
  return Buffer.from(hex.replaceAll("\\x", ""), "hex");
}

/** Reads the lines of a trace; only files in `folder` count. */
export function readTrace(lines: Iterable<string>, folder: string): Trace {
  const operations: Operation[] = [];
  const unfinished = new Map<string, { readonly text: string; readonly from: number }>();
  let acknowledged = 0;
  for (const line of lines) {
    const match = /^(\d+) +(.*)$/s.exec(line);
    if (!match) continue;
    const [, pid = "", rest = ""] = match;
    if (rest.endsWith("<unfinished ...>")) {
      unfinished.set(pid, { text: rest.slice(0, -"<unfinished ...>".length), from: operations.length });
      continue;
    }
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/s.exec(rest);
    const begun = resumed ? unfinished.get(pid) : undefined;
    const text = begun ? `${begun.text}${resumed![1]}` : rest;
    const done = operationOf(text, folder, begun?.from ?? operations.length);
    if (!done) continue;
    operations.push(done);
    if (done.op === "acknowledge") acknowledged += done.mails.length;
  }
  return { operations, acknowledged };
}

function operationOf(text: string, folder: string, from: number): Operation | undefined {
  const call = /^(\w+)\((?:\d+<([^>]*)>|"([^"]*)"|AT_FDCWD[^,]*)/.exec(text);
  if (!call || / = -1 /.test(text)) return undefined;
  const name = call[1]!;
  const path = bytesOf(call[2] ?? call[3] ?? "").toString();
  if (name === "write" || name === "writev") {
    const said = [...text.matchAll(/"([^"]*)"/g)].map(([, hex]) => bytesOf(hex!).toString("latin1"));
    const mails = [...said.join("").matchAll(ACKNOWLEDGED)].map(([, id]) => Number(id));
    return path.startsWith("socket:") && mails.length > 0 ? { op: "acknowledge", mails } : undefined;
  }
  if (path !== folder && dirname(path) !== folder) return undefined;
  if (name === "fsync" || name === "fdatasync") return { op: "sync", path, from };
  if (name === "unlink") return { op: "unlink", path };
  if (name === "ftruncate") return { op: "truncate", path, size: Number(/, (\d+) *\)/.exec(text)![1]) };
  if (name !== "pwrite64") return undefined;
  const args = /, "([^"]*)", \d+, (\d+) *\) += (\d+)/.exec(text);
  if (!args) throw new Error(`a write that cannot be read: ${text.slice(0, 200)}`);
  const data = bytesOf(args[1]!).subarray(0, Number(args[3]));
  return { op: "write", path, offset: Number(args[2]), data };
}

/** A file as it grows. */
class FileImage {
  #bytes = Buffer.alloc(1 << 16);
  #size = 0;

  write(offset: number, data: Uint8Array): void {
    const end = offset + data.length;
    if (end > this.#bytes.length) {
      const larger = Buffer.alloc(Math.max(end, this.#bytes.length * 2));
      this.#bytes.copy(larger, 0, 0, this.#size);
      this.#bytes = larger;
    }
    this.#bytes.set(data, offset);
    this.#size = Math.max(this.#size, end);
  }

  truncate(size: number): void {
    if (size < this.#size) this.#bytes.fill(0, size, this.#size);
    else this.write(size, Buffer.alloc(0));
    this.#size = size;
  }

  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#size);
  }
}

export interface PowerCut {
  /** The power fails when so many operations were done. */
  readonly at: number;
  /** 0 to 1, for each write that was not synced. */
  readonly random: () => number;
  /** False: syncs do nothing, as on a disk that lies. The harness must find losses then. */
  readonly syncs: boolean;
}

/** Writes the disk after a power cut into `into`; returns the mails that were acknowledged before it. */
export function diskAfter(trace: Trace, { at, random, syncs }: PowerCut, into: string): number[] {
  const done = trace.operations.slice(0, at);
  const acknowledged = done.flatMap((each) => (each.op === "acknowledge" ? each.mails : []));
  /** By path: only operations before this one are surely on disk. */
  const synced = new Map<string, number>();
  if (syncs)
    for (const each of done)
      if (each.op === "sync") synced.set(each.path, Math.max(synced.get(each.path) ?? 0, each.from));
  const images = new Map<string, FileImage>();
  /** What the unsynced writes of this cut come to: all lost, some lost, or nearly all there. */
  const survives = [0, 0.5, 0.9][Math.floor(random() * 3)]!;
  for (const [i, each] of done.entries()) {
    if (each.op === "acknowledge" || each.op === "sync") continue;
    const sure = i < (synced.get(each.op === "unlink" ? dirname(each.path) : each.path) ?? 0);
    if (!sure && random() >= survives) continue;
    if (each.op === "unlink") {
      images.delete(each.path);
      continue;
    }
    let image = images.get(each.path);
    if (!image) {
      image = new FileImage();
      images.set(each.path, image);
    }
    if (each.op === "truncate") image.truncate(each.size);
    else {
      const torn = !sure && random() < 0.1;
      const sectors = Math.ceil(each.data.length / 512);
      image.write(
        each.offset,
        torn ? each.data.subarray(0, 512 * Math.floor(random() * sectors)) : each.data,
      );
    }
  }
  mkdirSync(into, { recursive: true });
  for (const [path, image] of images) writeFileSync(join(into, basename(path)), image.bytes);
  return acknowledged;
}
