/**
 * The ingest process: it alone parses untrusted bytes and writes archive.db. It has no environment and uses no network; it
 * runs as long as the pipe to the daemon (descriptor 3) is open. A request that fails is answered with its error.
 */
import { Socket } from "node:net";
import type { IngestLimits } from "../../config/schema.ts";
import { readMail } from "../../format/mail/read.ts";
import { MailreportError } from "../../lib/errors.ts";
import { smoothed } from "../../lib/smoothed.ts";
import { failureOf, stackOf } from "../../lib/supervised.ts";
import type { ArchiveWriter, ReadMail, SpoolState } from "../../store/archive/intake.ts";
import { openArchiveWriter } from "../../store/sqlite/archive/writer.ts";
import { type Frame, frameReader, writeFrame } from "./frames.ts";
import { groupOf, headsOf, isMail, MAX_UNPARSED, takeGroup } from "./groups.ts";
import {
  joinIntakes,
  type Notice,
  type Reply,
  type RequestFrame,
  SPOOLED_MAILS,
  type WireError,
} from "./protocol.ts";

// the daemon decides when we end
for (const signal of ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"] as const) process.on(signal, () => {});

const pipe = new Socket({ fd: 3, readable: true, writable: true });
const queue: Frame[] = [];
let archive: ArchiveWriter | undefined;
let limits: IngestLimits | undefined;
let parsing = true;
/** Parsing spooled mail met an error of the archive: it is tried again with the next request, or after a second. */
let troubled = false;
let running = false;
/** Until then mails are stored and not parsed: there was a burst. Milliseconds of performance.now(). */
let burstUntil = 0;
const BURST_MS = 20;
/** How long parsing a mail takes at present, milliseconds. */
let parseMs = 0;
/** What is done when nothing else is: parsing spooled mail, a checkpoint (which costs a sync). */
let idle: NodeJS.Timeout | undefined;
const IDLE_MS = 1000;
/** The buffers of a larger mail are freed at once: they would wait long for a collection. */
const LARGE_MAIL = 1 << 20;
/** Bytes outside of the heap that are not worth a collection. */
const LITTLE = 8 << 20;

const read: ReadMail = (raw, hints, sink) => readMail(raw, hints, limits!, () => performance.now(), sink);

pipe.on(
  "data",
  frameReader((frame) => {
    queue.push(frame);
    goOn();
  }),
);
pipe.on("end", leave);
pipe.on("error", leave);

function leave(): void {
  guard("close", () => archive?.close());
  process.exit(0);
}

function tell(message: Reply | Notice): void {
  writeFrame(pipe, message);
}

/** Work that nobody asked for and that failed the last time, with the code: the same failure is told once. */
const failing = new Map<string, WireError["code"]>();

/** Runs work that nobody asked for; an error is told and ends nothing. */
function guard<T>(unit: string, work: () => T): T | undefined {
  try {
    const value = work();
    failing.delete(unit);
    return value;
  } catch (error) {
    const wire = named(error);
    if (failing.get(unit) !== wire.code) tell({ notice: "failed", unit, ...wire });
    failing.set(unit, wire.code);
    return undefined;
  }
}

/** One turn of work, then the event loop, so that new mail is seen. */
async function work(): Promise<void> {
  clearTimeout(idle);
  try {
    await turn();
  } catch (error) {
    tell({ notice: "failed", unit: "ingest", ...named(error) });
  }
  const waits = unparsedNow() > 0;
  running = queue.length > 0 || (waits && !inBurst());
  if (running) setImmediate(work);
  else if (waits) idle = setTimeout(goOn, BURST_MS);
  else idle = setTimeout(rest, IDLE_MS);
}

/** One request or transaction, or some spooled mail when there is none. */
async function turn(): Promise<void> {
  const [first] = queue;
  if (first) troubled = false;
  const large = first !== undefined && first.body.byteLength > LARGE_MAIL;
  if (first && archive && isMail(first)) {
    await takeIn(archive, takeGroup(queue));
    // senders wait for the parser now: mail that was stored before must not wait for ever
    if (unparsedNow() >= MAX_UNPARSED) await parseSomeSpooled(archive);
  } else if (first) {
    const answered = answer(queue.shift()!);
    if (!inBackground(first)) await answered;
  } else if (archive && unparsedNow() > 0 && !inBurst()) await parseSomeSpooled(archive);
  if (large) setImmediate(giveBack); // when nothing refers to it any more
}

/** Nothing happened for a second. */
function rest(): void {
  guard("checkpoint", () => archive?.checkpoint());
  troubled = false;
  if (archive && spoolNow().spool === undefined) idle = setTimeout(rest, IDLE_MS);
  else if (unparsedNow() > 0) goOn();
}

function goOn(): void {
  if (running) return;
  running = true;
  setImmediate(work);
}

function inBurst(): boolean {
  return performance.now() < burstUntil;
}

/** A copy of the archive takes long, and is made in steps between which other work is done. */
function inBackground({ header }: Frame): boolean {
  return (header as RequestFrame).op === "backup";
}

/** One transaction for all of them; each frame is answered for itself. */
async function takeIn(writer: ArchiveWriter, frames: readonly Frame[]): Promise<void> {
  const idOf = (frame: Frame): number => (frame.header as RequestFrame).id;
  pipe.cork();
  try {
    const { unparsed, commitMs } = writer;
    const { requests, overloaded } = groupOf(frames, { unparsed, inBurst: inBurst(), commitMs, parseMs });
    const begun = performance.now();
    const accepted = await writer.intake(requests, read);
    const end = performance.now();
    if (overloaded) burstUntil = end + BURST_MS;
    if (requests.every(({ parseNow }) => parseNow))
      parseMs = smoothed(parseMs, Math.max(0, end - begun - writer.commitMs) / requests.length);
    const spool = spoolNow();
    let at = 0;
    for (const frame of frames) {
      const mails = headsOf(frame).length;
      tell({ id: idOf(frame), ok: true, value: accepted.slice(at, at + mails), ...spool });
      at += mails;
    }
  } catch (error) {
    for (const frame of frames) tell({ id: idOf(frame), ok: false, ...named(error) });
  } finally {
    pipe.uncork();
  }
}

/** Spooled mails that may be parsed now. */
function unparsedNow(): number {
  return (parsing && !troubled && spoolNow().spool?.unparsed) || 0;
}

/** What is spooled, for a message; nothing when the archive cannot tell. */
function spoolNow(): { readonly spool?: SpoolState } {
  const spool = guard("spool", () => archive?.spool);
  return spool ? { spool } : {};
}

function giveBack(): void {
  if (process.memoryUsage().external > LITTLE) globalThis.gc?.();
}

async function parseSomeSpooled(writer: ArchiveWriter): Promise<void> {
  tell({ notice: "parsing" });
  try {
    const results = await writer.parseSpooled(read, SPOOLED_MAILS);
    setImmediate(giveBack);
    tell({ notice: "parsed", results, ...spoolNow() });
  } catch (error) {
    troubled = true;
    tell({ notice: "parse-failed", ...named(error), ...spoolNow() });
  }
}

async function answer(frame: Frame): Promise<void> {
  const request = frame.header as RequestFrame;
  try {
    const value = (await perform(request, frame.body)) ?? null;
    tell({ id: request.id, ok: true, value, ...spoolNow() });
  } catch (error) {
    tell({ id: request.id, ok: false, ...named(error), ...spoolNow() });
  }
}

function named(thrown: unknown): WireError {
  const failure = failureOf(thrown);
  const { code, detail, message } = failure.error;
  const stack = failure.bug ? stackOf(failure) : undefined;
  return { code, detail: detail ?? message, ...(stack === undefined ? {} : { stack }) };
}

async function perform(request: RequestFrame, body: Uint8Array): Promise<unknown> {
  if (request.op === "open") {
    limits = request.limits;
    parsing = request.parsing;
    archive = openArchiveWriter(request.path, request.policy, {
      onMigrate: ({ from, to }) => {
        if (from > 0) tell({ notice: "migrating", from, to });
      },
    });
    return null;
  }
  if (!archive) throw new MailreportError("ingest.unavailable");
  switch (request.op) {
    case "configure":
      limits = request.limits;
      return archive.setPolicy(request.policy);
    case "intake":
      throw new MailreportError("daemon.bug", { detail: "a mail outside of a group" });
    case "quarantine":
      return archive.quarantine(joinIntakes(request.heads, body)[0]!, request.reason, request.detail);
    case "reparse":
      return archive.reparse(request.mailIds, read, (result) =>
        tell({ notice: "parsed", results: [result], ...spoolNow() }),
      );
    case "expire":
      return archive.expire(request.now, request.policy, request.rows);
    case "backup":
      return archive.backup(request.path);
    case "vacuum":
      return archive.vacuum(request.pages);
    case "parsing":
      parsing = request.on;
      return null;
    case "parseNow":
      burstUntil = 0;
      return null;
    case "close":
      archive.close();
      archive = undefined;
      return null;
  }
}
