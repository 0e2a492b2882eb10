/** Starts a service inside a Debian root as its systemd unit says, where systemd is not the first process. */
import type { ChildProcess } from "node:child_process";
import type { DebianRoot } from "./debian-root.ts";
import { UnitFile } from "./unit-file.ts";

const DIRECTORIES = [
  ["RuntimeDirectory", "/run"],
  ["StateDirectory", "/var/lib"],
  ["LogsDirectory", "/var/log"],
] as const;

/**
 * Makes the directories of the unit and starts its program with the unit's user, groups, capabilities and umask. The
 * sandbox of file systems and system calls is systemd's own and is not applied.
 */
export async function startUnit(root: DebianRoot, name: string): Promise<ChildProcess> {
  const unit = new UnitFile(root.at(`/etc/systemd/system/${name}.service`));
  const user = unit.value("User");
  const group = unit.value("Group");
  for (const [key, parent] of DIRECTORIES) {
    const path = `${parent}/${unit.value(key)}`;
    const made = await root.run(`install -d -m ${unit.value(`${key}Mode`)} -o ${user} -g ${group} ${path}`);
    if (made.code !== 0) throw new Error(made.out);
  }
  const groups = [group, ...unit.words("SupplementaryGroups")];
  const ids = await root.run(`getent group ${groups.join(" ")} | cut -d: -f3 | paste -sd,`);
  const capabilities = unit
    .words("AmbientCapabilities")
    .map((each) => `+${each.replace(/^CAP_/, "").toLowerCase()}`)
    .join(",");
  const program = unit.words("ExecStart").filter((word) => !word.startsWith("$"));
  return root.start([
    "setpriv",
    `--reuid=${user}`,
    `--regid=${group}`,
    `--groups=${ids.out.trim()}`,
    `--inh-caps=-all,${capabilities}`,
    `--ambient-caps=-all,${capabilities}`,
    `--bounding-set=-all,${capabilities}`,
    "--no-new-privs",
    "sh",
    "-c",
    `umask ${unit.value("UMask")} && exec "$@"`,
    "sh",
    ...program,
  ]);
}
