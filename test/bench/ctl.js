/** The time mailreportctl takes to start and answer, compared with an empty node process. */
import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const CTL = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "dist/bin/mailreportctl.js");

function median(args) {
  const times = Array.from({ length: 15 }, () => {
    const at = performance.now();
    spawnSync(process.execPath, args);
    return performance.now() - at;
  });
  return times.sort((a, b) => a - b)[7];
}

export async function run(print) {
  const bare = median(["-e", "0"]);
  const help = median([CTL, "help"]);
  const none = median([CTL, "-S", "/nonexistent/control.sock", "show", "queue"]);
  print(
    `mailreportctl help ${help.toFixed(0)} ms, show queue without a daemon ${none.toFixed(0)} ms, empty node ${bare.toFixed(0)} ms`,
  );
}
