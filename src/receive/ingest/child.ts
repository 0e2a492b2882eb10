/**
 * The ingest process: it alone parses untrusted bytes and writes archive.db. It has no environment and uses no network; it
 * runs as long as the pipe to the daemon (descriptor 3) is open. A request that fails is answered with its error.
 */
import { Socket } from "node:net";
import type { IngestLimits } from "../../config/schema.ts";
import { stageMail } from "../../format/mail/stage.ts";
import { MailreportError } from "../../lib/errors.ts";
import { failureOf, stackOf } from "../../lib/supervised.ts";
import { judge, type ReceivePolicy } from "../../model/counting.ts";
import type { Intake, PutItem, SpoolState, Unparsable } from "../../store/archive/intake.ts";
import { type ArchiveWriter, openArchiveWriter } from "../../store/sqlite/archive/writer.ts";
import { makeCheckpointer } from "../../store/sqlite/checkpointer.ts";
import { type Frame, frameReader, writeFrame } from "./frames.ts";
import { groupOf, headsOf, isMail, MAX_UNPARSED, takeGroup } from "./groups.ts";
import { parseSpooled, reparse } from "./parse-stored.ts";
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
let policy: ReceivePolicy | undefined;
let spool: SpoolState | undefined;
let parsing = true;
/** Parsing spooled mail met an error of the archive: it is tried again with the next request, or after a second. */
let troubled = false;
let running = false;
/** Until then mails are stored and not parsed: there was a burst. Milliseconds of performance.now(). */
let burstUntil = 0;
const BURST_MS = 20;
/** What is done when nothing else is: parsing spooled mail, a checkpoint (which costs a sync). */
let idle: NodeJS.Timeout | undefined;
const IDLE_MS = 1000;
/** The buffers of a larger mail are freed at once: they would wait long for a collection. */
const LARGE_MAIL = 1 << 20;
/** Bytes outside of the heap that are not worth a collection. */
const LITTLE = 8 << 20;

/** Parses a mail; a bug that stops the parser is its result. */
function parse(intake: Intake): ReturnType<typeof judge> | Unparsable {
  try {
    const staged = stageMail(intake.raw, intake.hints, limits!, () => performance.now());
    return judge(staged, intake, policy!);
  } catch (error) {
    const { detail, stack } = named(error);
    return { reason: "internal", detail, ...(stack === undefined ? {} : { stack }) };
  }
}

const parseLater = async (intake: Intake) => parse(intake);

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
  void guard("close", async () => archive?.close()).then(() => process.exit(0));
}

function tell(message: Reply | Notice): void {
  writeFrame(pipe, message);
}

/** Work that nobody asked for and that failed the last time, with the code: the same failure is told once. */
const failing = new Map<string, WireError["code"]>();

/** Runs work that nobody asked for; an error is told and ends nothing. */
async function guard<T>(unit: string, work: () => Promise<T>): Promise<T | undefined> {
  try {
    const value = await work();
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
    await answer(queue.shift()!);
  } else if (archive && unparsedNow() > 0 && !inBurst()) await parseSomeSpooled(archive);
  if (large) setImmediate(giveBack); // when nothing refers to it any more
}

/** Nothing happened for a second. */
async function rest(): Promise<void> {
  await guard("checkpoint", async () => archive?.checkpoint());
  troubled = false;
  await askSpool();
  if (archive && spool === undefined) idle = setTimeout(rest, IDLE_MS);
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

/** One transaction for all of them; each frame is answered for itself. */
async function takeIn(writer: ArchiveWriter, frames: readonly Frame[]): Promise<void> {
  const idOf = (frame: Frame): number => (frame.header as RequestFrame).id;
  pipe.cork();
  try {
    const { requests, overloaded } = groupOf(frames, { unparsed: spool?.unparsed ?? 0, inBurst: inBurst() });
    const items = requests.map(
      ({ intake, parseNow }): PutItem => ({ intake, content: parseNow ? parse(intake) : null }),
    );
    const accepted = await writer.put(items);
    if (overloaded) burstUntil = performance.now() + BURST_MS;
    await askSpool();
    let at = 0;
    for (const frame of frames) {
      const mails = headsOf(frame).length;
      tell({ id: idOf(frame), ok: true, value: accepted.slice(at, at + mails), ...spoolNow() });
      at += mails;
    }
  } catch (error) {
    for (const frame of frames) tell({ id: idOf(frame), ok: false, ...named(error) });
  } finally {
    pipe.uncork();
  }
}

/** Asks what is spooled. */
async function askSpool(): Promise<void> {
  spool = await guard("spool", async () => archive?.spool());
}

/** Spooled mails that may be parsed now. */
function unparsedNow(): number {
  return (parsing && !troubled && spool?.unparsed) || 0;
}

/** What is spooled, for a message; nothing when the archive cannot tell. */
function spoolNow(): { readonly spool?: SpoolState } {
  return spool ? { spool } : {};
}

function giveBack(): void {
  if (process.memoryUsage().external > LITTLE) globalThis.gc?.();
}

async function parseSomeSpooled(writer: ArchiveWriter): Promise<void> {
  tell({ notice: "parsing" });
  try {
    const results = await parseSpooled(writer, parseLater, SPOOLED_MAILS);
    setImmediate(giveBack);
    await askSpool();
    tell({ notice: "parsed", results, ...spoolNow() });
  } catch (error) {
    troubled = true;
    await askSpool();
    tell({ notice: "parse-failed", ...named(error), ...spoolNow() });
  }
}

async function answer(frame: Frame): Promise<void> {
  const request = frame.header as RequestFrame;
  try {
    const value = (await perform(request, frame.body)) ?? null;
    await askSpool();
    tell({ id: request.id, ok: true, value, ...spoolNow() });
  } catch (error) {
    await askSpool();
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
    policy = request.policy;
    parsing = request.parsing;
    archive = openArchiveWriter(request.path, {
      checkpointer: makeCheckpointer(request.path, { elapsed: () => performance.now() }),
      onMigrate: ({ from, to }) => {
        if (from > 0) tell({ notice: "migrating", from, to });
      },
      onProblem: (error) => tell({ notice: "failed", unit: "archive", ...named(error) }),
    });
    return null;
  }
  if (!archive) throw new MailreportError("ingest.unavailable");
  switch (request.op) {
    case "configure":
      limits = request.limits;
      policy = request.policy;
      return null;
    case "intake":
      throw new MailreportError("daemon.bug", { detail: "a mail outside of a group" });
    case "quarantine":
      return quarantine(archive, joinIntakes(request.heads, body)[0]!, request);
    case "reparse":
      return reparse(archive, parseLater, request.mailIds, async (result) => {
        await askSpool();
        tell({ notice: "parsed", results: [result], ...spoolNow() });
      });
    case "expire":
      return archive.expire(request.now, request.policy, request.rows);
    case "vacuum":
      return archive.vacuum(request.pages);
    case "parsing":
      parsing = request.on;
      return null;
    case "parseNow":
      burstUntil = 0;
      return null;
    case "close":
      await archive.close();
      archive = undefined;
      return null;
  }
}

/** Keeps a mail raw, with the reason why it is not parsed; returns its number. */
async function quarantine(writer: ArchiveWriter, intake: Intake, content: Unparsable): Promise<number> {
  const { reason, detail } = content;
  const [answer] = await writer.put([{ intake, content: { reason, detail } }]);
  if (!answer || !("result" in answer)) throw new MailreportError("store.io");
  return answer.result.mailId;
}
