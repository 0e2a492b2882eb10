/** Unix sockets: what a process left behind, and who may connect (group and mode). */
import { chmodSync, chownSync, lstatSync, readFileSync, unlinkSync } from "node:fs";
import { connect } from "node:net";
import { type ErrorCode, errorText, MailreportError } from "./errors.ts";

/** The id of a group of /etc/group, or of a number; undefined when there is none. */
export function groupId(name: string, groups = "/etc/group"): number | undefined {
  if (/^\d+$/.test(name)) return Number(name);
  const line = readFileSync(groups, "utf8")
    .split("\n")
    .find((each) => each.startsWith(`${name}:`));
  return line === undefined ? undefined : Number(line.split(":")[2]);
}

/**
 * Gives the socket at `path` to `group` (undefined: it keeps its own) and sets its mode, in this order, so that nobody
 * of the wrong group can connect in between. `key` is the configuration key that names the group, for the error text.
 * Errors: `config.invalid` for an unknown group; `daemon.state_unusable` when the system refuses the change, as it does
 * when our user is not a member of the group.
 */
export function setSocketAccess(path: string, group: string | undefined, mode: number, key: string): void {
  const id = group === undefined ? undefined : groupId(group);
  if (group !== undefined && id === undefined) {
    throw new MailreportError("config.invalid", { detail: `${key}: no group ${group}` });
  }
  try {
    if (id !== undefined) chownSync(path, -1, id);
    chmodSync(path, mode);
  } catch (cause) {
    const whose = group === undefined ? "" : ` (${key} = "${group}"; our user must be a member)`;
    throw new MailreportError("daemon.state_unusable", {
      detail: `${path}: ${errorText(cause)}${whose}`,
      cause,
    });
  }
}

/**
 * Removes the socket at `path` that no process listens on; anything else at the path stays.
 * Errors: `notSocket` when it is something else; `inUse` when a process listens on it.
 */
export async function removeStaleSocket(
  path: string,
  { notSocket, inUse }: { readonly notSocket: ErrorCode; readonly inUse: ErrorCode },
): Promise<void> {
  const there = lstatSync(path, { throwIfNoEntry: false });
  if (!there) return;
  if (!there.isSocket())
    throw new MailreportError(notSocket, { detail: `${path} exists and is not a socket` });
  const answered = await new Promise<boolean>((resolve) => {
    const probe = connect(path, () => {
      probe.destroy();
      resolve(true);
    }).once("error", () => resolve(false));
  });
  if (answered) throw new MailreportError(inUse, { detail: path });
  unlinkSync(path);
}
