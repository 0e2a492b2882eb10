/** Commands about the daemon itself: state, counters, pauses, reload, stop, databases. */
import { resolve } from "node:path";
import { EXIT } from "../../lib/exit.ts";
import { clean } from "../../lib/text.ts";
import { type Call, confirmed, type Handler, query, reasonOf, show, withQuery } from "../call.ts";
import { UsageError, usage } from "../grammar.ts";
import { runFeed } from "./feed.ts";

async function steer(call: Call, action: "pause" | "resume"): Promise<number> {
  const { parsed, client, around } = call;
  const subsystem = parsed.command.words[1]!;
  const [word, destination] = parsed.operands;
  if (word !== undefined && (word !== "for" || destination === undefined))
    throw new UsageError(`usage: mailreportctl ${usage(parsed.command)}`);
  const body = {
    subsystem,
    destination: destination ?? null,
    ...reasonOf(call),
    ...(parsed.options["dry-run"] ? { dry_run: true } : {}),
  };
  const { changed } = await client.json<{ changed: boolean }>("POST", `/v1/actions/${action}`, body);
  const done = `${parsed.options["dry-run"] ? "would be " : ""}${action === "pause" ? "paused" : "resumed"}`;
  const state = action === "pause" ? "paused" : "running";
  const what = `${subsystem}${destination === undefined ? "" : ` for ${destination}`}`;
  around.out(changed ? `${clean(what)} ${done}\n` : `${clean(what)} was already ${state}\n`);
  return EXIT.OK;
}

/** `db prune`: counts what has expired, asks whenever that is anything, and deletes it. */
async function prune(call: Call): Promise<number> {
  const { parsed, client, around, form } = call;
  const ask = (dryRun: boolean) =>
    client
      .json<Record<string, number>>("POST", "/v1/db/prune", { dry_run: dryRun, ...reasonOf(call) })
      .then(({ dry_run: _, ...counts }) => counts);
  const dryRun = parsed.options["dry-run"] === true;
  const expired = await ask(true);
  const total = Object.values(expired).reduce((sum, count) => sum + count, 0);
  let done = expired;
  // with nothing to confirm nothing is deleted, not even what expires between the two requests
  if (!dryRun && total > 0) {
    const what = Object.entries(expired)
      .filter(([, count]) => count > 0)
      .map(([name, count]) => `${count} ${named(name)}`);
    if (!(await confirmed(call, `${what.join(", ")} would be deleted`, String(total))))
      return EXIT.INTERRUPTED;
    done = await ask(false);
  }
  if (form === "json") around.out(`${JSON.stringify({ dry_run: dryRun, ...done })}\n`);
  else
    for (const [name, count] of Object.entries(done))
      around.out(`${count} ${named(name)} ${dryRun ? "would be deleted" : "deleted"}\n`);
  return EXIT.OK;
}

const named = (counter: string): string => clean(counter).replaceAll("_", " ");

export const DAEMON_HANDLERS: Readonly<Record<string, Handler>> = {
  async ping({ client, around }) {
    const { version, pid } = await client.json<{ version: string; pid: number }>("GET", "/v1");
    around.out(`mailreportd ${clean(version)} answers (pid ${pid})\n`);
    return EXIT.OK;
  },
  async stats(call) {
    const { parsed, client, form, around } = call;
    const all = await client.json<Record<string, number>>("GET", withQuery("/v1/stats", query(call)));
    const pattern = parsed.operands[0];
    const keys = Object.keys(all)
      .filter((k) => pattern === undefined || k.startsWith(pattern.replace(/\*$/, "")))
      .sort();
    if (form === "json") around.out(`${JSON.stringify(Object.fromEntries(keys.map((k) => [k, all[k]])))}\n`);
    else for (const key of keys) around.out(`${clean(key)}=${all[key]}\n`);
    if (keys.length > 0) return EXIT.OK;
    around.err(`mailreportctl: nothing matched: ${clean(pattern ?? "")}\n`);
    return EXIT.NOTHING;
  },
  async status(call) {
    const status = await call.client.json<{
      unparsed: number;
      subsystems: Record<string, { state: string; detail: string }>;
    }>("GET", "/v1/status");
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
    if (status.unparsed > 0) call.around.out(`unparsed ${status.unparsed}\n`);
    return EXIT.OK;
  },
  pause: (call) => steer(call, "pause"),
  resume: (call) => steer(call, "resume"),
  feed: (call) => runFeed(call),
  async reload(call) {
    const { parsed, client, form, around } = call;
    const dryRun = parsed.options["dry-run"] === true;
    const answer = await client.json<{ applied: string[]; needs_restart: string[] }>("POST", "/v1/reload", {
      dry_run: dryRun,
      ...reasonOf(call),
    });
    if (form === "json") around.out(`${JSON.stringify(answer)}\n`);
    else {
      const isSame = answer.applied.length + answer.needs_restart.length === 0;
      const would = isSame ? "nothing would change" : "a reload would apply:";
      around.out(
        dryRun ? `the configuration is ok; ${would}\n` : `reloaded${isSame ? "; nothing has changed" : ""}\n`,
      );
      for (const line of answer.applied) around.out(`  ${clean(line)}\n`);
      for (const line of answer.needs_restart) around.out(`  needs a restart: ${clean(line)}\n`);
    }
    return EXIT.OK;
  },
  async stop(call) {
    const { client, around } = call;
    await client.json("POST", "/v1/stop", reasonOf(call));
    around.out("mailreportd stops\n");
    return EXIT.OK;
  },
  async log(call) {
    const { parsed, client, around } = call;
    const level = parsed.command.words[1]!;
    await client.json("POST", "/v1/log", { level, ...reasonOf(call) });
    around.out(`log ${level}\n`);
    return EXIT.OK;
  },
  async dbBackup(call) {
    const { parsed, client, around, form } = call;
    const folder = parsed.operands[0]!;
    // an empty name, as of a shell variable that is not set, would be the current directory
    if (folder === "")
      throw new UsageError("the directory has no name", `usage: mailreportctl ${usage(parsed.command)}`);
    const path = resolve(folder);
    const made = await client.json<{ files: { path: string; bytes: number }[] }>("POST", "/v1/db/backup", {
      path,
      ...reasonOf(call),
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
  async dbVacuum(call) {
    const { client, around, form } = call;
    const done = await client.json<{ freed: number }>("POST", "/v1/db/vacuum", reasonOf(call));
    around.out(form === "json" ? `${JSON.stringify(done)}\n` : `${done.freed} bytes given back\n`);
    return EXIT.OK;
  },
  dbPrune: (call) => prune(call),
  async dbStats(call) {
    show(call, await call.client.json("GET", "/v1/db/stats"));
    return EXIT.OK;
  },
};
