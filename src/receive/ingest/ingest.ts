/**
 * The ingest process: it alone parses untrusted bytes and writes the archive. It has no environment and uses no network; it
 * runs as long as the pipe to the daemon (descriptor 3) is open. Its main thread answers requests and is the only one that
 * writes; parser threads parse. A request that fails is answered with its error.
 */
import { Socket } from "node:net";
import { MailreportError } from "../../lib/errors.ts";
import { Desk, type IngestArchive } from "./desk.ts";
import { type Frame, frameReader, writeFrame } from "./frames.ts";
import { type Notice, type Reply, type Request, type RequestFrame, wireError } from "./protocol.ts";

export interface IngestProgram {
  /** Opens the archive, and migrates it. Errors: `store.*`. */
  readonly openArchive: (
    path: string,
    options: {
      readonly onMigrate: (steps: { readonly from: number; readonly to: number }) => void;
      /** Work of the archive that nobody waits for failed; it is tried again later. */
      readonly onProblem: (error: unknown) => void;
    },
  ) => IngestArchive | Promise<IngestArchive>;
  /** The program of a parser thread; default: the built one. */
  readonly parserProgram?: URL;
}

/** After this without work a checkpoint is made, which costs a sync. */
const IDLE_MS = 1000;
/** No parser thread can be started (EX_OSERR of sysexits). */
const EXIT_BROKEN = 71;

/** Runs the ingest process with an engine for the archive. */
export function runIngest(program: IngestProgram): void {
  // the daemon decides when we end
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"] as const) process.on(signal, () => {});
  const pipe = new Socket({ fd: 3, readable: true, writable: true });
  const service = new Service(program, pipe);
  pipe.on(
    "data",
    frameReader((frame) => service.take(frame)),
  );
  const leave = (): void => {
    void service.close().then(() => process.exit(0));
  };
  pipe.on("end", leave);
  pipe.on("error", leave);
}

class Service {
  readonly #program: IngestProgram;
  readonly #pipe: Socket;
  #desk: Desk | undefined;
  #idle: NodeJS.Timeout | undefined;
  /** A checkpoint failed the last time: the same failure is told once. */
  #checkpointFailed = false;

  constructor(program: IngestProgram, pipe: Socket) {
    this.#program = program;
    this.#pipe = pipe;
  }

  take({ header, body }: Frame): void {
    const request = header as RequestFrame;
    this.#idle?.refresh();
    if (request.op !== "intake") void this.#answer(request, body);
    else if (this.#desk) this.#accept(this.#desk, request, body);
    else this.#tell({ id: request.id, ok: false, ...wireError(new MailreportError("ingest.unavailable")) });
  }

  /** The pipe is closed. */
  async close(): Promise<void> {
    clearTimeout(this.#idle);
    const desk = this.#desk;
    this.#desk = undefined;
    try {
      await desk?.close();
    } catch (error) {
      this.#tell({ notice: "failed", unit: "close", ...wireError(error) });
    }
  }

  #tell(message: Reply | Notice): void {
    writeFrame(this.#pipe, message);
  }

  #accept(desk: Desk, { id, head, when, alone }: RequestFrame & { op: "intake" }, raw: Uint8Array): void {
    const done = (value: unknown): void => this.#tell({ id, ok: true, value });
    desk.accept({ intake: { ...head, raw }, when, alone, done });
  }

  async #answer(request: RequestFrame, body: Uint8Array): Promise<void> {
    let reply: Reply;
    try {
      reply = { id: request.id, ok: true, value: (await this.#perform(request, body)) ?? null };
    } catch (error) {
      reply = { id: request.id, ok: false, ...wireError(error) };
    }
    await this.#desk?.refresh();
    this.#tell(reply);
  }

  async #perform(request: RequestFrame, body: Uint8Array): Promise<unknown> {
    if (request.op === "open") return this.#open(request);
    const desk = this.#desk;
    if (!desk) throw new MailreportError("ingest.unavailable");
    switch (request.op) {
      case "intake":
        throw new MailreportError("daemon.bug", { detail: "a mail outside of the queue" });
      case "configure":
        return desk.configure(request.limits, request.policy);
      case "quarantine":
        return desk.quarantine({ ...request.head, raw: body }, request);
      case "reparse":
        return desk.reparse(request.mailIds);
      case "expire":
        return desk.archive.expire(request.now, request.policy, request.rows);
      case "vacuum":
        return desk.archive.vacuum(request.pages);
      case "parsing":
        return desk.switchParsing(request.on);
      case "parseNow":
        return desk.parseNow();
      case "close":
        clearTimeout(this.#idle);
        this.#desk = undefined;
        return desk.close();
    }
  }

  async #open({ path, limits, policy, parsing }: Request & { op: "open" }): Promise<void> {
    const archive = await this.#program.openArchive(path, {
      onMigrate: ({ from, to }) => {
        if (from > 0) this.#tell({ notice: "migrating", from, to });
      },
      onProblem: (error) => this.#tell({ notice: "failed", unit: "archive", ...wireError(error) }),
    });
    const { parserProgram } = this.#program;
    this.#desk = new Desk({
      archive,
      limits,
      policy,
      parsing,
      ...(parserProgram ? { parserProgram } : {}),
      tell: (notice) => {
        this.#idle?.refresh();
        this.#tell(notice);
      },
      together: (send) => {
        this.#pipe.cork();
        send();
        this.#pipe.uncork();
      },
      onBroken: (error) => {
        this.#tell({ notice: "failed", unit: "parser", ...wireError(error) });
        process.exit(EXIT_BROKEN);
      },
    });
    this.#idle = setTimeout(() => void this.#rest(), IDLE_MS);
  }

  /** Nothing happened for a while. */
  async #rest(): Promise<void> {
    const desk = this.#desk;
    if (!desk) return;
    try {
      await desk.archive.checkpoint();
      this.#checkpointFailed = false;
    } catch (error) {
      if (!this.#checkpointFailed) this.#tell({ notice: "failed", unit: "checkpoint", ...wireError(error) });
      this.#checkpointFailed = true;
    }
    await desk.refresh();
    desk.retry();
    if (!desk.isSpoolKnown) this.#idle?.refresh();
  }
}
