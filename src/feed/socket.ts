/**
 * A feed on a Unix stream socket: the client writes JSON lines and gets a JSON line for each batch after its commit,
 * in order. A batch is what arrived in one turn of the event loop, at most 500 lines. A batch that cannot be counted
 * is answered with an error and the numbers of its first and last line; nothing of it was counted, and the connection
 * goes on.
 */
import { createServer, type Server, type Socket } from "node:net";
import type { Clock } from "../lib/clock.ts";
import { type ErrorCode, errorText, MailreportError } from "../lib/errors.ts";
import type { Log } from "../lib/log/log.ts";
import { failureOf, logFailure } from "../lib/supervised.ts";
import { removeStaleSocket, setSocketAccess } from "../lib/unix-socket.ts";
import type { DaemonEventSink } from "../model/events.ts";
import { BATCH, type Feeder } from "./batch.ts";
import { type Line, LineSplitter } from "./lines.ts";

/** Connections of one socket at once. */
const MOST_CLIENTS = 64;
/** How long, at the end, a client may take to read its last answers. */
const STOP_GRACE_MS = 2000;

export interface FeedSocketOptions {
  readonly name: string;
  readonly path: string;
  /** Group of the socket; without one it keeps that of the process. */
  readonly group?: string | undefined;
  /** Permission bits of the socket; default 0660. */
  readonly mode?: number;
  readonly feeder: Feeder;
  readonly clock: Clock;
  readonly log: Log;
  readonly events: DaemonEventSink;
}

export interface FeedSocket {
  /**
   * Stops listening and ends all connections; no further batch is counted. A client that does not read its last answers
   * is cut off after two seconds.
   */
  stop(): Promise<void>;
}

/**
 * Listens with the group and mode of the options.
 * Errors: `daemon.port_in_use` when another process does; `daemon.state_unusable` when the path cannot be a socket or
 * the group cannot be set; `config.invalid` for an unknown group.
 */
export async function startFeedSocket(options: FeedSocketOptions): Promise<FeedSocket> {
  const { name, path, clock, events } = options;
  const lost = (what: "connection" | "socket", error: Error): void =>
    events.emit("feed.lost", { feed: name, what, error: errorText(error) });
  await removeStaleSocket(path, { notSocket: "daemon.state_unusable", inUse: "daemon.port_in_use" });
  const clients = new Set<Socket>();
  // half-open: a client that has sent all still gets its answers
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    clients.add(socket);
    socket.on("close", () => clients.delete(socket));
    socket.on("error", (error) => {
      lost("connection", error);
      socket.destroy();
    });
    serve(socket, options);
  });
  server.maxConnections = MOST_CLIENTS;
  await listen(server, path);
  try {
    setSocketAccess(path, options.group, options.mode ?? 0o660, `feed ${name}: group`);
  } catch (error) {
    server.close();
    throw error;
  }
  server.on("error", (error) => lost("socket", error));
  events.emit("feed.listening", { feed: name, path });
  return {
    async stop() {
      for (const client of clients) client.destroySoon();
      const grace = clock.after(STOP_GRACE_MS, () => {
        for (const client of clients) client.destroy();
      });
      await new Promise((resolve) => server.close(resolve));
      grace.cancel();
    },
  };
}

async function listen(server: Server, path: string): Promise<void> {
  const umask = process.umask(0o177);
  try {
    // binds before it returns: nobody else can connect before group and mode are set
    const listening = new Promise<void>((resolve, reject) => {
      server.once("error", (error) => {
        const detail = `${path}: ${errorText(error)}`;
        reject(new MailreportError("daemon.state_unusable", { detail, cause: error }));
      });
      server.listen(path, resolve);
    });
    process.umask(umask);
    await listening;
  } finally {
    process.umask(umask);
  }
}

function serve(socket: Socket, { name, feeder, log }: FeedSocketOptions): void {
  const splitter = new LineSplitter();
  let waiting: Line[] = [];
  let planned = false;
  let ended = false;
  /** The error of the batch before; undefined when it was counted. */
  let failing: ErrorCode | undefined;

  socket.on("data", (chunk) => take(splitter.push(chunk)));
  socket.on("end", () => {
    ended = true;
    take(splitter.end());
  });

  function take(lines: readonly Line[]): void {
    waiting = waiting.concat(lines);
    if (waiting.length >= BATCH) socket.pause();
    plan();
  }

  /** One batch a turn, so that a fast feeder leaves time for the rest. */
  function plan(): void {
    if (planned) return;
    planned = true;
    setImmediate(() => {
      planned = false;
      if (socket.writable) step(); // not when its answers cannot be sent any more
    });
  }

  function step(): void {
    const batch = waiting.slice(0, BATCH);
    waiting = waiting.slice(BATCH);
    if (batch.length > 0 && !answer(batch)) {
      socket.pause();
      socket.once("drain", goOn);
    } else goOn();
  }

  function goOn(): void {
    if (waiting.length > 0) plan();
    else if (ended) socket.end();
    else socket.resume();
  }

  /** Counts a batch and answers it. False: the client must read before it gets more. */
  function answer(batch: readonly Line[]): boolean {
    try {
      const reply = feeder.lines(name, batch);
      failing = undefined;
      return write(reply);
    } catch (thrown) {
      const failure = failureOf(thrown);
      const { code, message, temporary } = failure.error;
      const lines = { first: batch[0]!.number, last: batch.at(-1)!.number };
      // one log line for a run of batches that fail alike
      if (failing !== code)
        logFailure({ log, unit: "feed batch", fields: { feed: name, ...lines } }, failure);
      failing = code;
      return write({ error: { code, message, temporary }, ...lines });
    }
  }

  function write(reply: object): boolean {
    return socket.write(`${JSON.stringify(reply)}\n`);
  }
}
