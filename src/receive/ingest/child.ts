/**
 * The ingest process: the only reader of hostile bytes and the only writer of archive.db. It has no environment and
 * uses no network; it lives as long as the pipe to the daemon (descriptor 3) is open.
 */
import { Socket } from "node:net";
import type { IngestLimits } from "../../config/schema.ts";
import { readMail } from "../../format/mail/read.ts";
import { errorText, MailreportError } from "../../lib/errors.ts";
import { smoothed } from "../../lib/smoothed.ts";
import type { ArchiveWriter, ReadMail } from "../../store/archive.ts";
import { openArchiveWriter } from "../../store/sqlite/archive/writer.ts";
import { type Frame, frameReader, writeFrame } from "./frames.ts";
import { groupOf, headsOf, isMail, MAX_UNPARSED, takeGroup } from "./groups.ts";
import { joinIntakes, type Notice, type Reply, type RequestFrame, SPOOLED_MAILS } from "./protocol.ts";

// the daemon decides when we end
for (const signal of ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"] as const) process.on(signal, () => {});

const pipe = new Socket({ fd: 3, readable: true, writable: true });
const queue: Frame[] = [];
let archive: ArchiveWriter | undefined;
let limits: IngestLimits | undefined;
let reading = true;
/** Reading stored mail met an error of the archive: it is tried again with the next request. */
let troubled = false;
let running = false;
/** Until then mails are not read but stored: there was a crowd. Milliseconds of performance.now(). */
let burstUntil = 0;
const BURST_MS = 20;
/** How long reading a mail takes inBurst, milliseconds. */
let parseMs = 0;
/** What waits for nobody to come: reading stored mail, a checkpoint (which costs a sync). */
let idle: NodeJS.Timeout | undefined;
const IDLE_MS = 1000;
/** After a mail larger than this its bytes are given back at once: they would wait long for a collection. */
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
  archive?.close();
  process.exit(0);
}

function tell(message: Reply | Notice): void {
  writeFrame(pipe, message);
}

/** One request or transaction, or some spooled mail when there is none; then the loop turns, so that new mail is seen. */
async function work(): Promise<void> {
  clearTimeout(idle);
  const [first] = queue;
  if (first) troubled = false;
  const large = first !== undefined && first.body.byteLength > LARGE_MAIL;
  if (first && archive && isMail(first)) {
    await takeIn(archive, takeGroup(queue));
    // senders wait for reading now: those who came before must not wait for ever
    if (unparsedNow() >= MAX_UNPARSED) await parseSomeSpooled(archive);
  } else if (first) await answer(queue.shift()!);
  else if (archive && unparsedNow() > 0 && !inBurst()) await parseSomeSpooled(archive);
  if (large) setImmediate(giveBack); // when nothing refers to it any more
  const waits = unparsedNow() > 0;
  running = queue.length > 0 || (waits && !inBurst());
  if (running) setImmediate(work);
  else if (waits) idle = setTimeout(goOn, BURST_MS);
  else idle = setTimeout(() => archive?.checkpoint(), IDLE_MS);
}

function goOn(): void {
  if (running) return;
  running = true;
  setImmediate(work);
}

function inBurst(): boolean {
  return performance.now() < burstUntil;
}

/** One transaction for all of them; each is answered for itself. */
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
    let at = 0;
    for (const frame of frames) {
      const mails = headsOf(frame).length;
      tell({ id: idOf(frame), ok: true, value: accepted.slice(at, at + mails) });
      at += mails;
    }
  } catch (error) {
    for (const frame of frames) tell({ id: idOf(frame), ok: false, ...named(error) });
  } finally {
    pipe.uncork();
  }
}

/** Stored mails that may be read now; it asks the archive. */
function unparsedNow(): number {
  return reading && !troubled && archive ? archive.unparsed : 0;
}

function giveBack(): void {
  if (process.memoryUsage().external > LITTLE) globalThis.gc?.();
}

async function parseSomeSpooled(writer: ArchiveWriter): Promise<void> {
  tell({ notice: "reading" });
  try {
    const results = await writer.parseSpooled(read, SPOOLED_MAILS);
    setImmediate(giveBack);
    tell({ notice: "read", results });
  } catch (error) {
    troubled = true;
    const { code, detail } = named(error);
    tell({ notice: "read-failed", code, detail });
  }
}

async function answer(frame: Frame): Promise<void> {
  const request = frame.header as RequestFrame;
  try {
    tell({ id: request.id, ok: true, value: (await perform(request, frame.body)) ?? null });
  } catch (error) {
    tell({ id: request.id, ok: false, ...named(error) });
  }
}

function named(error: unknown): { code: MailreportError["code"]; detail: string } {
  return error instanceof MailreportError
    ? { code: error.code, detail: error.detail ?? error.message }
    : { code: "daemon.bug", detail: errorText(error) };
}

async function perform(request: RequestFrame, body: Uint8Array): Promise<unknown> {
  if (request.op === "open") {
    limits = request.limits;
    reading = request.reading;
    archive = openArchiveWriter(request.path, request.policy);
    return archive.unparsed;
  }
  if (!archive) throw new MailreportError("ingest.unavailable");
  switch (request.op) {
    case "configure":
      limits = request.limits;
      return archive.setPolicy(request.policy);
    case "intake":
      throw new MailreportError("daemon.bug", { detail: "mail outside of a transaction" });
    case "quarantine":
      return archive.quarantine(joinIntakes(request.heads, body)[0]!, request.reason, request.detail);
    case "reparse":
      return archive.reparse(request.mailIds, read);
    case "expire":
      return archive.expire(request.now, request.policy, request.rows);
    case "deleteReport":
      return archive.deleteReport(request.reportId);
    case "backup":
      return archive.backup(request.path);
    case "vacuum":
      return archive.vacuum(request.pages);
    case "reading":
      reading = request.on;
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
