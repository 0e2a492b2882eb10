/** Who may connect to a Unix socket: its group and mode. */
import { chmodSync, chownSync, readFileSync } from "node:fs";
import { errorText, MailreportError } from "./errors.ts";

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
