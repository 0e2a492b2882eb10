/** Opens one listener: a TCP address, or a Unix socket. */
import type { Server } from "node:net";
import { MailreportError } from "../../lib/errors.ts";
import { removeStaleSocket } from "../../lib/unix-socket.ts";

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
  if (isSocketPath(address))
    await removeStaleSocket(address, { notSocket: "daemon.cannot_listen", inUse: "daemon.port_in_use" });
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

function listenError(error: NodeJS.ErrnoException, address: string): MailreportError {
  const code =
    error.code === "EADDRINUSE"
      ? "daemon.port_in_use"
      : error.code === "EACCES" || error.code === "EPERM"
        ? "daemon.no_permission"
        : "daemon.cannot_listen";
  return new MailreportError(code, { detail: `${address}: ${error.message}`, cause: error });
}
