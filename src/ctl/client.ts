/** Talks to the daemon: HTTP/1.1 on its Unix socket. */
import { existsSync } from "node:fs";
import { type IncomingMessage, type RequestOptions, request } from "node:http";
import { join } from "node:path";
import { API_HEADER, API_VERSION, type WireEnd, type WireError } from "../control/wire.ts";
import { ERROR_CODES, type ErrorCode } from "../lib/errors.ts";
import { EXIT } from "../lib/exit.ts";
import { CONTROL_SOCKET, RUNTIME_DIRECTORY } from "../lib/paths.ts";

/** The daemon is not there, or said no; `exit` is what the program ends with. */
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

/** The socket that was asked for, else the one of a daemon started here, else the system's. */
export function socketPath(option: string | undefined, environment: NodeJS.ProcessEnv): string {
  return (
    option ??
    environment.MAILREPORTCTL_SOCKET ??
    (existsSync(TRY_OUT_SOCKET) ? TRY_OUT_SOCKET : join(RUNTIME_DIRECTORY, CONTROL_SOCKET))
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
  /** Lines of a list as they come; resolves with the end record. */
  list(
    path: string,
    onItem: (item: Record<string, unknown>) => void | Promise<void>,
  ): Promise<WireEnd["end"]>;
  /** A POST whose body is written piece by piece while its answer is read. */
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

function refusal(text: string, status: number): ClientError {
  try {
    const body = JSON.parse(text) as Partial<WireError> & { problems?: string[] };
    if (body.problems) return new ClientError(body.problems.join("\n"), EXIT.CONFIG);
    const code = body.error?.code as ErrorCode;
    return new ClientError(
      body.error?.message ?? text,
      Object.hasOwn(ERROR_CODES, code) ? ERROR_CODES[code].exit : EXIT.SOFTWARE,
    );
  } catch {
    return new ClientError(`the daemon answered ${status}`, EXIT.SOFTWARE); // not our JSON
  }
}

export function makeClient(socket: string): Client {
  function open(
    method: string,
    path: string,
    headers: RequestOptions["headers"],
    write: (req: ReturnType<typeof request>) => void,
  ): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const req = request(
        {
          socketPath: socket,
          method,
          path,
          headers: { host: "mailreportd", [API_HEADER]: String(API_VERSION), ...headers },
        },
        resolve,
      );
      req.on("error", (error) => reject(connectionError(error, socket)));
      write(req);
    });
  }

  async function text(response: IncomingMessage): Promise<string> {
    response.setEncoding("utf8");
    let all = "";
    for await (const chunk of response) all += chunk as string;
    return all;
  }

  async function lines(
    response: IncomingMessage,
    onItem: (item: Record<string, unknown>) => void | Promise<void>,
  ): Promise<WireEnd["end"]> {
    response.setEncoding("utf8");
    if (response.statusCode !== 200) throw refusal(await text(response), response.statusCode ?? 0);
    let rest = "";
    let end: WireEnd["end"] | undefined;
    const take = async (line: string): Promise<void> => {
      if (line === "") return;
      const item = JSON.parse(line) as Record<string, unknown>;
      if ("end" in item && Object.keys(item).length === 1) end = (item as unknown as WireEnd).end;
      else if ("error" in item && Object.keys(item).length === 1) throw refusal(line, 500);
      else await onItem(item);
    };
    try {
      for await (const chunk of response) {
        const parts = (rest + (chunk as string)).split("\n");
        rest = parts.pop()!;
        for (const part of parts) await take(part);
      }
    } catch (error) {
      if (error instanceof ClientError) throw error;
      throw new ClientError("the list was cut off before its end", EXIT.IOERR);
    }
    if (!end) throw new ClientError("the list was cut off before its end", EXIT.IOERR);
    return end;
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
      const answer = await text(response);
      if ((response.statusCode ?? 500) >= 300) throw refusal(answer, response.statusCode ?? 0);
      return JSON.parse(answer) as T;
    },
    async bytes(path) {
      const response = await open("GET", path, {}, (req) => req.end());
      const chunks: Buffer[] = [];
      for await (const chunk of response) chunks.push(chunk as Buffer);
      if (response.statusCode !== 200)
        throw refusal(Buffer.concat(chunks).toString(), response.statusCode ?? 0);
      return Buffer.concat(chunks);
    },
    async list(path, onItem) {
      return lines(await open("GET", path, {}, (req) => req.end()), onItem);
    },
    async stream(path, body, onItem) {
      let failed: unknown;
      const response = await open(
        "POST",
        path,
        { "content-type": "application/octet-stream", "transfer-encoding": "chunked" },
        (req) => {
          req.flushHeaders();
          void (async () => {
            try {
              for await (const piece of body)
                if (!req.write(piece)) await new Promise((resolve) => req.once("drain", resolve));
            } catch (error) {
              failed = error;
            }
            req.end();
          })();
        },
      );
      const end = await lines(response, onItem);
      if (failed) throw failed;
      return end;
    },
  };
}
