/** Opens one listener: a TCP address, or a Unix socket. */
import { lstatSync, unlinkSync } from "node:fs";
import { connect, type Server } from "node:net";
import { MailreportError } from "../../lib/errors.ts";

/** Sockets of mode 0660: the group of the process may connect. */
const SOCKET_UMASK = 0o117;

/** True for the path of a Unix socket. */
export function isSocketPath(address: string): boolean {
  return address.startsWith("/");
}

/**
 * Listens on "host:port", "[v6]:port" or the path of a Unix socket; one that nobody listens on any more is replaced.
 * Returns the port, null for a socket.
 * Errors, with the address: `daemon.port_in_use`, `daemon.no_permission`, `daemon.cannot_listen`.
 */
export async function openListener(server: Server, address: string): Promise<number | null> {
  if (isSocketPath(address)) await removeStaleSocket(address);
  const umask = isSocketPath(address) ? process.umask(SOCKET_UMASK) : undefined;
  const listening = new Promise<void>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => reject(listenError(error, address)));
    server.listen(targetOf(address), resolve);
  });
  if (umask !== undefined) process.umask(umask); // a Unix socket is bound before listen() returns
  await listening;
  const bound = server.address();
  return typeof bound === "object" && bound !== null ? bound.port : null;
}

function targetOf(
  address: string,
): { readonly path: string } | { readonly host: string; readonly port: number } {
  if (isSocketPath(address)) return { path: address };
  const match = /^(?:\[([^\]]+)\]|([^:]*)):(\d+)$/.exec(address);
  return { host: match?.[1] ?? match?.[2] ?? "", port: Number(match?.[3] ?? 0) };
}

/** Removes the socket that a process has left behind; anything else at the path stays. */
async function removeStaleSocket(path: string): Promise<void> {
  const there = lstatSync(path, { throwIfNoEntry: false });
  if (!there) return;
  if (!there.isSocket()) {
    throw new MailreportError("daemon.cannot_listen", { detail: `${path} exists and is not a socket` });
  }
  const answered = await new Promise<boolean>((resolve) => {
    const probe = connect(path, () => {
      probe.destroy();
      resolve(true);
    }).once("error", () => resolve(false));
  });
  if (answered) throw new MailreportError("daemon.port_in_use", { detail: path });
  unlinkSync(path);
}

function listenError(error: NodeJS.ErrnoException, address: string): MailreportError {
  const code =
    error.code === "EADDRINUSE"
      ? "daemon.port_in_use"
      : error.code === "EACCES" || error.code === "EPERM"
        ? "daemon.no_permission"
        : "daemon.cannot_listen";
  return new MailreportError(code, { detail: `${address}: ${error.message}`, cause: error });
}
