/**
 * A feed on a Unix stream socket: the client writes JSON lines, and gets a JSON line for each batch after its commit,
 * in order. What arrives in one turn is a batch, at most 500 lines.
 */
import { chmodSync, lstatSync, unlinkSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { errorText, MailreportError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import { LONGEST_LINE } from "./parse.ts";
import type { FeedReply } from "./port.ts";

const BATCH = 500;

export interface FeedSocketOptions {
  readonly name: string;
  readonly path: string;
  /** Counts lines; throws MailreportError when the store cannot. */
  readonly count: (feed: string, lines: readonly string[], firstLine: number) => FeedReply;
  readonly log: Log;
}

export interface FeedSocket {
  stop(): Promise<void>;
}

/** True when something answers on the socket at `path`. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.once("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", () => resolve(false));
  });
}

/** Listens. Errors: `daemon.port_in_use` when another process does, `daemon.state_unusable`. */
export async function startFeedSocket(options: FeedSocketOptions): Promise<FeedSocket> {
  const { name, path, log } = options;
  const there = lstatSync(path, { throwIfNoEntry: false });
  if (there && !there.isSocket()) throw new MailreportError("daemon.state_unusable", { detail: `${path} is no socket` });
  if (there && (await answers(path))) throw new MailreportError("daemon.port_in_use", { detail: path });
  if (there) unlinkSync(path);
  const clients = new Set<Socket>();
  const server: Server = createServer((socket) => {
    clients.add(socket);
    socket.on("close", () => clients.delete(socket));
    socket.on("error", () => socket.destroy());
    serve(socket, options);
  });
  const umask = process.umask(0o117);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", (error) => reject(new MailreportError("daemon.state_unusable", { detail: `${path}: ${errorText(error)}` })));
      server.listen(path, resolve);
    });
  } finally {
    process.umask(umask);
  }
  chmodSync(path, 0o660);
  log.info("feed.listening", { feed: name, path });
  return {
    async stop() {
      for (const client of clients) client.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function serve(socket: Socket, { name, count, log }: FeedSocketOptions): void {
  let rest = "";
  let line = 1;
  socket.setEncoding("utf8");
  socket.on("data", (chunk: string) => {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop()!;
    if (rest.length > LONGEST_LINE) {
      answer({ accepted: 0, repeated: 0, rejected: 1, errors: [{ line, reason: `longer than ${LONGEST_LINE} bytes` }] });
      socket.end();
      return;
    }
    for (let i = 0; i < lines.length; i += BATCH) if (!take(lines.slice(i, i + BATCH))) return;
  });
  socket.on("end", () => {
    if (rest.trim() !== "") take([rest]);
    socket.end();
  });

  /** One batch; false when the connection ends because the store could not take it: the feeder sends it again. */
  function take(lines: readonly string[]): boolean {
    try {
      answer(count(name, lines, line));
      line += lines.length;
      return true;
    } catch (error) {
      if (!(error instanceof MailreportError)) throw error;
      log.error("store.problem", { feed: name, error: error.message });
      socket.end(`${JSON.stringify({ error: { code: error.code, message: error.message } })}\n`);
      return false;
    }
  }

  function answer(reply: FeedReply): void {
    log.info("feed.batch", { feed: name, accepted: reply.accepted, repeated: reply.repeated, rejected: reply.rejected });
    for (const { line: number, reason } of reply.errors.slice(0, 10)) log.warn("feed.rejected", { feed: name, line: number, reason });
    if (!socket.write(`${JSON.stringify(reply)}\n`)) {
      socket.pause();
      socket.once("drain", () => socket.resume());
    }
  }
}
