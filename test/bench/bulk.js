/**
 * Import of many small reports through the daemon: the 1,743 real ones of the corpus if it is beside the repository,
 * otherwise the same number of generated ones. Yardstick: tar and gzip on the same file.
 */
import { execFile, execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { dmarcXml } from "../support/report-mail.js";
import { ROOT, withDaemon } from "./daemon.js";

const CORPUS = join(ROOT, "..", "shared", "corpus", "bulk", "dmarcrua-bulk.tar.gz");
const REPORTS = 1743;

/** A tar.gz of generated reports, 1 to 50 records each. */
function made(dir) {
  const folder = join(dir, "reports");
  mkdirSync(folder);
  for (let i = 0; i < REPORTS; i++) {
    const xml = dmarcXml({ id: `bulk-${i}`, records: 1 + ((i * 7) % 50), domain: `d${i % 20}.example.org` });
    writeFileSync(join(folder, `${i}.xml`), xml);
  }
  const path = join(dir, "made.tar.gz");
  execFileSync("tar", ["czf", path, "-C", folder, "."]);
  return path;
}

export async function run(print) {
  const dir = mkdtempSync(join(tmpdir(), "mailreportd-bench-"));
  try {
    const real = existsSync(CORPUS);
    const path = real ? CORPUS : made(dir);
    let at = performance.now();
    const bytes = execFileSync("tar", ["xzOf", path], { maxBuffer: 1 << 30 }).length;
    const unpacked = performance.now() - at;
    await withDaemon(async (_port, _pid, folder) => {
      const program = [join(ROOT, "dist/bin/mailreportctl.js"), "-S", join(folder, "var", "control.sock")];
      const ctl = async (...args) => {
        const options = { encoding: "utf8", maxBuffer: 1 << 28 };
        return (await promisify(execFile)(process.execPath, [...program, ...args], options)).stdout;
      };
      at = performance.now();
      const { end } = JSON.parse((await ctl("import", path, "--json")).trim().split("\n").at(-1));
      const first = performance.now() - at;
      at = performance.now();
      await ctl("import", path, "--json");
      const again = performance.now() - at;
      const stats = JSON.parse(await ctl("show", "stats", "--json"));
      print(
        `${real ? "real" : "generated"}: ${end.count} reports, ${stats["archive.record"]} records, ${(bytes / 1e6).toFixed(1)} MB of XML: ` +
          `${((end.count / first) * 1000).toFixed(0)} reports/s, ${((stats["archive.record"] / first) * 1000).toFixed(0)} records/s; ` +
          `again (all duplicates) ${((end.count / again) * 1000).toFixed(0)}/s; tar and gzip take ${((unpacked / first) * 100).toFixed(1)} % of it`,
      );
    });
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
