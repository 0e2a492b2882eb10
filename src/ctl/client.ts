/** Talks to the daemon: HTTP/1.1 on its Unix socket. */
import { existsSync } from "node:fs";
import { type ClientRequest, type IncomingMessage, type RequestOptions, request } from "node:http";
import { join } from "node:path";
import {
  API_HEADER,
  API_VERSION,
  PARSING_HEADER,
  UNPARSED_HEADER,
  type WireEnd,
  type WireError,
} from "../control/wire.ts";
import { ERROR_CODES, type ErrorCode } from "../lib/errors.ts";
import { EXIT } from "../lib/exit.ts";
import { CONTROL_SOCKET, RUNTIME_DIRECTORY } from "../lib/paths.ts";

/** Why a command cannot be carried out, for the operator; `exit` is the exit code of the program. */
export class ClientError extends Error {
  readonly exit: number;

  constructor(message: string, exit: number) {
    super(message);
    this.name = "ClientError";
    this.exit = exit;
  }
}

/** Where a daemon without a configuration file, started in this directory, has its control socket. */
const TRY_OUT_SOCKET = join("var", CONTROL_SOCKET);

/** The socket of the command line or environment, else the one of a daemon started here, else the system's. */
export function socketPath(option: string | undefined, environment: NodeJS.ProcessEnv): string {
  return (
    option ??
    (environment.MAILREPORTCTL_SOCKET || // set to nothing is not set
      (existsSync(TRY_OUT_SOCKET) ? TRY_OUT_SOCKET : join(RUNTIME_DIRECTORY, CONTROL_SOCKET)))
  );
}

export interface Client {
  json<T = Record<string, unknown>>(
    method: "GET" | "POST",
    path: string,
    body?: unknown,
    type?: string,
  ): Promise<T>;
  bytes(path: string): Promise<Buffer>;
  /** Lines of a list as they arrive; resolves with the end record. */
  list(
    path: string,
    onItem: (item: Record<string, unknown>) => void | Promise<void>,
  ): Promise<WireEnd["end"]>;
  /**
   * A POST that writes its body piece by piece while its answer is read. It stops when the answer has ended.
   * Rejects with what the body throws.
   */
  stream(
    path: string,
    body: AsyncIterable<Uint8Array>,
    onItem: (item: Record<string, unknown>) => void,
  ): Promise<WireEnd["end"]>;
}

function connectionError(error: NodeJS.ErrnoException, socket: string): ClientError {
  const what = { ENOENT: "no such file", ECONNREFUSED: "nobody answers" }[error.code ?? ""];
  if (what) return new ClientError(`mailreportd is not running (${socket}: ${what})`, EXIT.UNAVAILABLE);
  if (error.code === "EACCES")
    return new ClientError(
      `mailreportd: permission denied (${socket}): join its group or use sudo`,
      EXIT.NOPERM,
    );
  if (error.code === "ECONNRESET" || error.code === "EPIPE")
    return new ClientError("the daemon ended the connection", EXIT.IOERR);
  return new ClientError(`${socket}: ${error.message}`, EXIT.UNAVAILABLE);
}

/** The exit code of an error of the daemon. */
export function exitOf(code: unknown): number {
  return typeof code === "string" && Object.hasOwn(ERROR_CODES, code)
    ? ERROR_CODES[code as ErrorCode].exit
    : EXIT.SOFTWARE;
}

/** An answer that is an error. */
function refusal(text: string, status: number): ClientError {
  const body = fromJson(text) as Partial<WireError> | undefined;
  if (body?.error === undefined) return new ClientError(`the daemon answered ${status}`, EXIT.SOFTWARE);
  return new ClientError(body.error.message, exitOf(body.error.code));
}

/** An object or list of JSON; undefined for anything else. */
function fromJson(text: string): object | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined; // the caller says what it expected
  }
}

/** Waits until more of a request can be written, or its connection ends. */
function drained(req: ClientRequest): Promise<void> {
  if (req.destroyed || !req.writableNeedDrain) return Promise.resolve();
  return new Promise((resolve) => {
    const done = (): void => {
      req.off("drain", done);
      req.off("close", done);
      resolve();
    };
    req.on("drain", done);
    req.on("close", done);
  });
}

/**
 * A client of the daemon at a socket.
 * @param onUnparsed called when an answer does not contain accepted mails because they are not parsed yet; with
 *   `paused` or `failing` when nothing parses them
 */
export function makeClient(
  socket: string,
  onUnparsed: (mails: number, parsing?: unknown) => void = () => {},
): Client {
  function open(
    method: string,
    path: string,
    headers: RequestOptions["headers"],
    write: (req: ClientRequest) => void,
  ): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const req = request(
        {
          socketPath: socket,
          method,
          path,
          headers: { host: "mailreportd", [API_HEADER]: String(API_VERSION), ...headers },
        },
        (response) => {
          const unparsed = Number(response.headers[UNPARSED_HEADER] ?? 0);
          if (unparsed > 0) onUnparsed(unparsed, response.headers[PARSING_HEADER]);
          resolve(response);
        },
      );
      req.on("error", (error) => reject(connectionError(error, socket)));
      write(req);
    });
  }

  async function whole(response: IncomingMessage): Promise<Buffer> {
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of response) chunks.push(chunk as Buffer);
    } catch {
      throw new ClientError("the answer was cut off before its end", EXIT.IOERR);
    }
    return Buffer.concat(chunks);
  }

  async function lines(
    response: IncomingMessage,
    onItem: (item: Record<string, unknown>) => void | Promise<void>,
  ): Promise<WireEnd["end"]> {
    if (response.statusCode !== 200)
      throw refusal((await whole(response)).toString(), response.statusCode ?? 0);
    response.setEncoding("utf8");
    let rest = "";
    let end: WireEnd["end"] | undefined;
    const take = async (line: string): Promise<void> => {
      if (line === "") return;
      const item = fromJson(line) as Record<string, unknown> | undefined;
      if (!item) throw new ClientError("the daemon sent a line that is not JSON", EXIT.PROTOCOL);
      const keys = Object.keys(item);
      if (keys.length === 1 && keys[0] === "end") end = (item as unknown as WireEnd).end;
      else if (keys.length === 1 && keys[0] === "error") throw refusal(line, 500);
      else await onItem(item);
    };
    for await (const chunk of uncut(response)) {
      const parts = (rest + chunk).split("\n");
      rest = parts.pop()!;
      for (const part of parts) await take(part);
    }
    if (!end) throw new ClientError("the list was cut off before its end", EXIT.IOERR);
    if (end.unparsed !== undefined) onUnparsed(end.unparsed, end.parsing);
    return end;
  }

  /** The text of a list; an error of the connection is one of the operator's. */
  async function* uncut(response: IncomingMessage): AsyncGenerator<string, undefined> {
    const chunks = response[Symbol.asyncIterator]();
    for (;;) {
      let next: IteratorResult<string>;
      try {
        next = (await chunks.next()) as IteratorResult<string>;
      } catch {
        throw new ClientError("the list was cut off before its end", EXIT.IOERR);
      }
      if (next.done) return undefined;
      yield next.value;
    }
  }

  return {
    async json<T>(
      method: "GET" | "POST",
      path: string,
      body?: unknown,
      type = "application/json",
    ): Promise<T> {
      const payload = body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body);
      const response = await open(
        method,
        path,
        payload === undefined ? {} : { "content-type": type, "content-length": Buffer.byteLength(payload) },
        (req) => req.end(payload),
      );
      const answer = (await whole(response)).toString();
      if ((response.statusCode ?? 500) >= 300) throw refusal(answer, response.statusCode ?? 0);
      const value = fromJson(answer);
      if (!value) throw new ClientError("the daemon's answer is not JSON", EXIT.PROTOCOL);
      return value as T;
    },
    async bytes(path) {
      const response = await open("GET", path, {}, (req) => req.end());
      const answer = await whole(response);
      if (response.statusCode !== 200) throw refusal(answer.toString(), response.statusCode ?? 0);
      return answer;
    },
    async list(path, onItem) {
      return lines(await open("GET", path, {}, (req) => req.end()), onItem);
    },
    async stream(path, body, onItem) {
      let failed: unknown;
      let answered = false;
      let sending: ClientRequest | undefined;
      const send = async (req: ClientRequest): Promise<void> => {
        sending = req;
        req.flushHeaders();
        try {
          for await (const piece of body) {
            if (answered || req.destroyed) break;
            if (!req.write(piece)) await drained(req);
          }
          req.end();
        } catch (error) {
          failed = error;
          req.destroy();
        }
      };
      const headers = { "content-type": "application/octet-stream", "transfer-encoding": "chunked" };
      try {
        const response = await open("POST", path, headers, (req) => void send(req));
        return await lines(response, onItem);
      } catch (error) {
        throw failed ?? error;
      } finally {
        answered = true;
        if (!sending?.writableEnded) sending?.destroy();
      }
    },
  };
}
