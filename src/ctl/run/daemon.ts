/** Commands about the daemon itself: its state, its feeds, its life. */
import { resolve } from "node:path";
import { EXIT } from "../../lib/exit.ts";
import { clean } from "../../lib/text.ts";
import { type Call, type Handler, show } from "../call.ts";
import { UsageError, usage } from "../grammar.ts";
import { str } from "../render.ts";

async function steer(call: Call, action: "pause" | "resume"): Promise<number> {
  const { parsed, client, around } = call;
  const subsystem = parsed.command.words[1]!;
  const [word, destination] = parsed.operands;
  if (word !== undefined && (word !== "for" || destination === undefined))
    throw new UsageError(`usage: mailreportctl ${usage(parsed.command)}`);
  const body = {
    subsystem,
    destination: destination ?? null,
    reason: parsed.options.reason ? str(parsed.options.reason) : null,
  };
  const { changed } = await client.json<{ changed: boolean }>("POST", `/v1/actions/${action}`, body);
  const done = action === "pause" ? "paused" : "resumed";
  const state = action === "pause" ? "paused" : "running";
  const what = `${subsystem}${destination === undefined ? "" : ` for ${destination}`}`;
  around.out(changed ? `${clean(what)} ${done}\n` : `${clean(what)} was already ${state}\n`);
  return EXIT.OK;
}

async function feed({ parsed, client, form, around }: Call): Promise<number> {
  const path = parsed.operands[0]!;
  const { fileSource } = await import("./import.ts");
  const name = str(parsed.options.name) || "control";
  const total = { accepted: 0, repeated: 0, rejected: 0 };
  const errors: { line: number; reason: string }[] = [];
  let line = 1;
  let lines: string[] = [];
  let rest = "";
  const flush = async (): Promise<void> => {
    if (lines.length === 0) return;
    const params = new URLSearchParams({ name, first: String(line) });
    const reply = await client.json<typeof total & { errors: typeof errors }>(
      "POST",
      `/v1/feed?${params}`,
      `${lines.join("\n")}\n`,
      "application/x-ndjson",
    );
    total.accepted += reply.accepted;
    total.repeated += reply.repeated;
    total.rejected += reply.rejected;
    errors.push(...reply.errors);
    line += lines.length;
    lines = [];
  };
  const decoder = new TextDecoder();
  for await (const chunk of path === "-" ? around.stdin : fileSource(path)) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = parts.pop()!;
    for (const part of parts) {
      lines.push(part);
      if (lines.length >= 500) await flush();
    }
  }
  if (rest !== "") lines.push(rest);
  await flush();
  for (const { line: n, reason } of errors) around.err(`mailreportctl: line ${n}: ${clean(reason)}\n`);
  around.out(
    form === "json"
      ? `${JSON.stringify({ ...total, errors })}\n`
      : `${total.accepted} accepted, ${total.repeated} repeated, ${total.rejected} rejected\n`,
  );
  return total.rejected > 0 ? EXIT.DATAERR : EXIT.OK;
}

export const DAEMON_HANDLERS: Readonly<Record<string, Handler>> = {
  async ping({ client, around }) {
    const { version, pid } = await client.json<{ version: string; pid: number }>("GET", "/v1");
    around.out(`mailreportd ${clean(version)} answers (pid ${pid})\n`);
    return EXIT.OK;
  },
  async stats({ parsed, client, form, around }) {
    const all = await client.json<Record<string, number>>("GET", "/v1/stats");
    const pattern = parsed.operands[0];
    const keys = Object.keys(all)
      .filter((k) => pattern === undefined || k.startsWith(pattern.replace(/\*$/, "")))
      .sort();
    if (form === "json") around.out(`${JSON.stringify(Object.fromEntries(keys.map((k) => [k, all[k]])))}\n`);
    else for (const key of keys) around.out(`${clean(key)}=${all[key]}\n`);
    return keys.length > 0 ? EXIT.OK : EXIT.NOTHING;
  },
  async status(call) {
    const status = await call.client.json<{ subsystems: Record<string, { state: string; detail: string }> }>(
      "GET",
      "/v1/status",
    );
    if (call.form === "json") {
      show(call, status);
      return EXIT.OK;
    }
    for (const name of ["mda", "mta", "smtp", "scheduler"]) {
      const { state, detail } = status.subsystems[name]!;
      call.around.out(
        `${name.toUpperCase()} ${state}${call.form === "table" && detail !== "" ? `  ${clean(detail)}` : ""}\n`,
      );
    }
    return EXIT.OK;
  },
  pause: (call) => steer(call, "pause"),
  resume: (call) => steer(call, "resume"),
  feed,
  async reload({ client, around }) {
    const answer = await client.json<{ applied: string[]; needsRestart: string[] }>("POST", "/v1/reload", {});
    around.out("reloaded\n");
    for (const line of answer.applied) around.out(`  ${clean(line)}\n`);
    for (const line of answer.needsRestart) around.out(`  needs a restart: ${clean(line)}\n`);
    return EXIT.OK;
  },
  async stop({ client, around }) {
    await client.json("POST", "/v1/stop", {});
    around.out("mailreportd stops\n");
    return EXIT.OK;
  },
  async log({ parsed, client, around }) {
    const level = parsed.command.words[1]!;
    await client.json("POST", "/v1/log", { level });
    around.out(`log ${level}\n`);
    return EXIT.OK;
  },
  async dbBackup({ parsed, client, around, form }) {
    const path = resolve(parsed.operands[0]!);
    const made = await client.json<{ files: { path: string; bytes: number }[] }>("POST", "/v1/db/backup", {
      path,
    });
    if (form === "json") around.out(`${JSON.stringify(made)}\n`);
    else for (const file of made.files) around.out(`${clean(file.path)} ${file.bytes} bytes\n`);
    return EXIT.OK;
  },
  async dbCheck({ client, around, form }) {
    const found = await client.json<{ ok: boolean; problems: string[] }>("GET", "/v1/db/check");
    if (form === "json") around.out(`${JSON.stringify(found)}\n`);
    else around.out(found.ok ? "ok\n" : found.problems.map((text) => `${clean(text)}\n`).join(""));
    return found.ok ? EXIT.OK : EXIT.DATAERR;
  },
  async dbVacuum({ client, around, form }) {
    const done = await client.json<{ freed: number }>("POST", "/v1/db/vacuum", {});
    around.out(form === "json" ? `${JSON.stringify(done)}\n` : `${done.freed} bytes given back\n`);
    return EXIT.OK;
  },
  async dbPrune({ parsed, client, around, form }) {
    const dryRun = parsed.options["dry-run"] === true;
    const done = await client.json<Record<string, number>>("POST", "/v1/db/prune", { dry_run: dryRun });
    if (form === "json") around.out(`${JSON.stringify(done)}\n`);
    else
      for (const [what, count] of Object.entries(done))
        around.out(
          `${count} ${clean(what).replaceAll("_", " ")} ${dryRun ? "would be deleted" : "deleted"}\n`,
        );
    return EXIT.OK;
  },
  async dbStats(call) {
    show(call, await call.client.json("GET", "/v1/db/stats"));
    return EXIT.OK;
  },
};
