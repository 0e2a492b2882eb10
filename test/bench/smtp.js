/**
 * Mails a second until 250, over 20 kept-open connections, beside a server that only stores the bytes
 * (smtp-server + one BLOB insert in a group-committed, synced transaction). The clients share the machine.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { get } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { dmarcMail } from "../support/report-mail.js";
import { SmtpClient, sendAll } from "../support/smtp-client.js";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..", "..");

function rss(pid) {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024;
  } catch {
    return 0; // the process is gone
  }
}

/** A process and its children, MB. */
function rssTree(pid) {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8")
    .trim()
    .split(" ")
    .filter(Boolean);
  return [pid, ...children].reduce((sum, p) => sum + rss(p), 0);
}

/** One GET on the control socket, as JSON. */
function control(socketPath, path) {
  return new Promise((resolve, reject) => {
    get({ socketPath, path, headers: { accept: "application/json", "mailreport-api": "1" } }, (response) => {
      let text = "";
      response.on("data", (chunk) => {
        text += chunk;
      });
      response.on("end", () => resolve(JSON.parse(text)));
    }).on("error", reject);
  });
}

/** What a program says when it is up; all that it says later is read and dropped. */
async function started(child, pattern) {
  let text = "";
  return new Promise((resolve, reject) => {
    const look = (chunk) => {
      text += chunk;
      const match = pattern.exec(text);
      if (!match) return;
      child.stdout.off("data", look).resume();
      resolve(match);
    };
    child.stdout.on("data", look);
    child.once("exit", (code) => reject(new Error(`ended with ${code}: ${text}`)));
  });
}

async function withDaemon(work) {
  const dir = mkdtempSync(join(tmpdir(), "mailreportd-bench-"));
  writeFileSync(
    join(dir, "c.conf"),
    `hostname = "rx.example.org"\nstate_directory = "var"\nallow_root = true\n[smtp]\nlisten = ["127.0.0.1:0"]\nmax_connections_per_address = 200\nconnections_per_minute = 100000\nmessages_per_minute = 1000000\n[[recipient]]\naddress = "@example.org"\n[receive]\nverify = false\n[dns]\nzone_file = "zone"\nzone_only = true\n[log]\nlevel = "info"\n`,
  );
  writeFileSync(join(dir, "zone"), "");
  const child = spawn(
    process.execPath,
    [join(ROOT, "dist/bin/mailreportd.js"), "-F", "-f", join(dir, "c.conf")],
    {
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  try {
    const match = await started(
      child,
      /"event":"smtp\.listening"[^\n]*"port":(\d+)[\s\S]*"event":"daemon\.ready"/,
    );
    return await work(Number(match[1]), child.pid, dir);
  } finally {
    child.kill("SIGTERM");
    await new Promise((resolve) => child.once("close", resolve));
    rmSync(dir, { recursive: true, force: true });
  }
}

async function withStore(work) {
  const dir = mkdtempSync(join(tmpdir(), "mailreportd-bench-"));
  const child = spawn(process.execPath, [join(ROOT, "test/bench/store-only.js"), dir], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    const match = await started(child, /port (\d+)/);
    return await work(Number(match[1]), child.pid);
  } finally {
    child.kill("SIGKILL");
    rmSync(dir, { recursive: true, force: true });
  }
}

function mails(count, records, tag) {
  return Array.from({ length: count }, (_, i) => ({
    to: "dmarc@example.org",
    data: dmarcMail({
      id: `${tag}-${i}`,
      domain: `d${i % 20}.example.org`,
      records,
      begin: 1795046400,
    }),
  }));
}

async function rate(port, list, connections) {
  let bad = 0;
  const start = performance.now();
  await sendAll(port, list, connections, (_, reply) => {
    if (!reply.startsWith("250")) bad++;
  });
  if (bad > 0) throw new Error(`${bad} mails were not accepted`);
  return (list.length / (performance.now() - start)) * 1000;
}

export async function run(print) {
  for (const [records, count] of [
    [10, 4000],
    [250, 800],
  ]) {
    const list = mails(count, records, `b${records}`);
    const warm = mails(records > 100 ? 300 : 2000, records, `w${records}`);
    const stored = await withStore(async (port) => {
      await rate(port, warm, 20);
      return rate(port, list, 20);
    });
    const [analysed, memory] = await withDaemon(async (port, pid) => {
      await rate(port, warm, 20);
      const r = await rate(port, list, 20);
      return [r, rssTree(pid)];
    });
    print(
      `${records} records, 20 connections, verify = false: ${analysed.toFixed(0)} mails/s analysed, ${stored.toFixed(0)} only stored: ${((analysed / stored) * 100).toFixed(0)} %; RSS after ${memory.toFixed(0)} MB`,
    );
  }
  await withDaemon(async (port, pid, dir) => {
    const data = dmarcMail({ id: "big", records: 100_000 });
    await new Promise((resolve) => setTimeout(resolve, 500));
    const idle = rssTree(pid);
    let peak = idle;
    const watch = setInterval(() => {
      peak = Math.max(peak, rssTree(pid));
    }, 20);
    const begin = performance.now();
    const client = await SmtpClient.open(port);
    const reply = await client.send("r@reporter.example", "dmarc@example.org", data);
    const acknowledged = performance.now() - begin;
    if (!reply.startsWith("250")) throw new Error(reply);
    const socket = join(dir, "var", "control.sock");
    let stats = await control(socket, "/v1/stats");
    while (!(stats["archive.record"] >= 100_000)) {
      if (performance.now() - begin > 60_000) throw new Error("the report was not read within a minute");
      await new Promise((resolve) => setTimeout(resolve, 20));
      stats = await control(socket, "/v1/stats");
    }
    const read = performance.now() - begin;
    clearInterval(watch);
    print(
      `100,000-record mail (${(data.length / 1e6).toFixed(2)} MB): 250 after ${acknowledged.toFixed(0)} ms, read and committed after ${read.toFixed(0)} ms; peak RSS +${(peak - idle).toFixed(0)} MB over ${idle.toFixed(0)} MB idle; main loop blocked at most ${stats["daemon.loop.max_ms"]} ms`,
    );
    await client.quit();
  });
}
