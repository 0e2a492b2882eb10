/**
 * The ingest process: the only reader of hostile bytes and the only writer of archive.db. It has no environment and
 * uses no network; it lives as long as the pipe to the daemon (descriptor 3) is open.
 */
import { Socket } from "node:net";
import type { IngestLimits } from "../../config/schema.ts";
import { readMail } from "../../format/read-mail.ts";
import { errorText, MailreportError } from "../../lib/errors.ts";
import type { ArchiveWriter, ReadMail } from "../../store/archive.ts";
import { openArchiveWriter } from "../../store/sqlite/archive-writer.ts";
import { type Frame, frameReader, writeFrame } from "./frames.ts";
import {
  type IntakeHead,
  joinIntakes,
  type Notice,
  type Reply,
  type RequestFrame,
  SPOOLED_MAILS,
} from "./protocol.ts";

/** Mails of one transaction, and their bytes: short enough that nobody waits long for the others. */
const GROUP_MAILS = 64;
const GROUP_BYTES = 4 << 20;
/** Of more than twice so many that wait, half go: their senders send on while the other half is stored. */
const FEW_MAILS = 8;

// the daemon decides when we end
for (const signal of ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"] as const) process.on(signal, () => {});

const pipe = new Socket({ fd: 3, readable: true, writable: true });
const queue: Frame[] = [];
let archive: ArchiveWriter | undefined;
let limits: IngestLimits | undefined;
let reading = true;
let running = false;
/** After a mail larger than this its bytes are given back at once: they would wait long for a collection. */
const LARGE_MAIL = 1 << 20;
/** Bytes outside of the heap that are not worth a collection. */
const LITTLE = 8 << 20;
/** A checkpoint costs a sync: it is made when nobody waits. */
let idle: NodeJS.Timeout | undefined;
const IDLE_MS = 1000;
/** Spooled mail may be waiting. */
let spooled = true;

const read: ReadMail = (raw, hints, sink) => readMail(raw, hints, limits!, () => performance.now(), sink);

pipe.on(
  "data",
  frameReader((frame) => {
    queue.push(frame);
    if (!running) {
      running = true;
      setImmediate(work);
    }
  }),
);
pipe.on("end", leave);
pipe.on("error", leave);

function leave(): void {
  void (archive?.close() ?? Promise.resolve()).finally(() => process.exit(0));
}

function tell(message: Reply | Notice): void {
  writeFrame(pipe, message);
}

/** One request, or some spooled mail when there is none; then the loop turns, so that new mail is seen. */
async function work(): Promise<void> {
  clearTimeout(idle);
  const frame = queue.shift();
  const large = frame !== undefined && frame.body.byteLength > LARGE_MAIL;
  if (frame && archive && isMail(frame)) await takeIn(archive, [frame, ...moreMail(frame)]);
  else if (frame) await answer(frame);
  else if (spooled && reading && archive) await readSomeSpooled(archive);
  if (large) setImmediate(giveBack); // when nothing refers to it any more
  if (queue.length > 0 || (spooled && reading && archive)) setImmediate(work);
  else {
    running = false;
    idle = setTimeout(() => archive?.checkpoint(), IDLE_MS);
  }
}

type MailRequest = Extract<RequestFrame, { op: "intake" | "spool" }>;

function isMail({ header }: Frame): boolean {
  const { op } = header as RequestFrame;
  return op === "intake" || op === "spool";
}

/** Mails of the same manner that came while the last transaction was made: they go into the next one together. */
function moreMail(first: Frame): Frame[] {
  const { op } = first.header as MailRequest;
  const other = queue.findIndex(({ header }) => (header as RequestFrame).op !== op);
  const alike = queue.slice(0, other < 0 ? queue.length : other);
  let mails = headsOf(first).length;
  let bytes = first.body.byteLength;
  const waiting = alike.reduce((sum, frame) => sum + headsOf(frame).length, mails);
  const most = Math.min(GROUP_MAILS, Math.max(FEW_MAILS, Math.ceil(waiting / 2)));
  const fits = (frame: Frame): boolean => {
    mails += headsOf(frame).length;
    bytes += frame.body.byteLength;
    return mails <= most && bytes <= GROUP_BYTES;
  };
  const end = alike.findIndex((frame) => !fits(frame));
  return queue.splice(0, end < 0 ? alike.length : end);
}

function headsOf({ header }: Frame): readonly IntakeHead[] {
  return (header as MailRequest).heads;
}

/** One transaction for all of them; each is answered for itself when it is on disk. The next one need not wait for that. */
async function takeIn(writer: ArchiveWriter, frames: readonly Frame[]): Promise<void> {
  const intakes = frames.flatMap((frame) => joinIntakes(headsOf(frame), frame.body));
  const asked = frames.map((frame) => ({
    id: (frame.header as RequestFrame).id,
    mails: headsOf(frame).length,
  }));
  const refuse = (error: unknown): void => {
    for (const { id } of asked) tell({ id, ok: false, ...named(error) });
  };
  try {
    const spool = (frames[0]!.header as MailRequest).op === "spool";
    const { value, durable } = spool ? await writer.spool(intakes) : await writer.intake(intakes, read);
    if (spool) spooled = true;
    durable.then(() => {
      pipe.cork();
      let at = 0;
      for (const { id, mails } of asked) tell({ id, ok: true, value: value.slice(at, (at += mails)) });
      pipe.uncork();
    }, refuse);
  } catch (error) {
    refuse(error);
  }
}

function giveBack(): void {
  if (process.memoryUsage().external > LITTLE) globalThis.gc?.();
}

async function readSomeSpooled(writer: ArchiveWriter): Promise<void> {
  tell({ notice: "reading" });
  try {
    const results = await writer.readSpooled(read, SPOOLED_MAILS);
    if (results.length === 0) spooled = false;
    else setImmediate(giveBack);
    tell({ notice: "read", results });
  } catch (error) {
    spooled = false; // looked at again with the next request
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
    return null;
  }
  if (!archive) throw new MailreportError("ingest.unavailable");
  switch (request.op) {
    case "configure":
      limits = request.limits;
      return archive.setPolicy(request.policy);
    case "intake":
    case "spool":
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
      spooled = true;
      return null;
    case "close": {
      const closing = archive.close();
      archive = undefined;
      await closing;
      return null;
    }
  }
}
