/** mailreportctl: carries out one command and returns the exit code. */
import { EXIT } from "../lib/exit.ts";
import { isEnvelopeId, isMessageId } from "../lib/ids.ts";
import { clean } from "../lib/text.ts";
import { parseDuration } from "../lib/units.ts";
import { parseOutgoingId } from "../model/outgoing.ts";
import { type Client, ClientError, makeClient, socketPath } from "./client.ts";
import * as columns from "./columns.ts";
import { COMMANDS, type Command } from "./commands.ts";
import { GLOBAL_OPTIONS, type Parsed, parse, resolve, UsageError, usage } from "./grammar.ts";
import { type FileTools, runCheck, runImport } from "./import.ts";
import { type Column, csvLine, details, type Form, type Item, plainLine, str, table } from "./render.ts";

export interface Surroundings {
  readonly args: readonly string[];
  readonly environment: NodeJS.ProcessEnv;
  readonly stdoutIsTTY: boolean;
  readonly columns: number;
  /** Epoch milliseconds. */
  readonly now: number;
  out(text: string): void;
  err(text: string): void;
  readonly stdin: AsyncIterable<Uint8Array>;
  /** Readers of files, loaded only when needed. */
  readonly files: () => Promise<FileTools>;
  /** Asks a person; null when there is none. */
  readonly confirm: (question: string) => Promise<string | null>;
  readonly version: string;
}

interface Call {
  readonly parsed: Parsed<Command>;
  readonly client: Client;
  readonly form: Form;
  readonly around: Surroundings;
}

type Handler = (call: Call) => Promise<number>;

/** Runs; never throws for what users and daemons do. */
export async function run(around: Surroundings): Promise<number> {
  try {
    if (around.args[0] === "--version") {
      around.out(`mailreportctl ${around.version}\n`);
      return EXIT.OK;
    }
    if (around.args.length === 0 || ["--help", "-h"].includes(around.args[0]!)) {
      (around.args.length === 0 ? around.err : around.out)(help([]));
      return around.args.length === 0 ? EXIT.USAGE : EXIT.OK;
    }
    const parsed = parse(COMMANDS, around.args);
    if (parsed.options.help) {
      around.out(help(parsed.command.words));
      return EXIT.OK;
    }
    const client = makeClient(socketPath(str(parsed.options.socket) || undefined, around.environment));
    return await HANDLERS[parsed.command.run]!({ parsed, client, form: formOf(parsed, around), around });
  } catch (error) {
    if (error instanceof UsageError) {
      for (const [i, line] of error.lines.entries())
        around.err(
          `${i === 0 && !line.startsWith("possibilities") ? "mailreportctl: " : ""}${clean(line)}\n`,
        );
      return EXIT.USAGE;
    }
    if (error instanceof ClientError) {
      for (const line of error.message.split("\n")) around.err(`mailreportctl: ${clean(line)}\n`);
      return error.exit;
    }
    throw error;
  }
}

function formOf({ options }: Parsed<Command>, { stdoutIsTTY }: Surroundings): Form {
  if (options.json) return "json";
  if (options.csv) return "csv";
  return options.plain || !stdoutIsTTY ? "plain" : "table";
}

/** Help for all commands, or those that begin with the words. */
function help(words: readonly string[]): string {
  const { matching } = resolve(COMMANDS, words);
  const width = Math.min(44, Math.max(...matching.map((c) => usage(c).length)) + 2);
  let out = "usage: mailreportctl [options] command\n\n";
  for (const c of matching) out += `  ${usage(c).padEnd(width)} ${c.help}\n`;
  const own = matching.length === 1 ? (matching[0]!.options ?? []) : [];
  const option = (o: { name: string; short?: string; value?: string; help: string }): string =>
    `  ${`${o.short ? `-${o.short}, ` : ""}--${o.name}${o.value ? ` ${o.value}` : ""}`.padEnd(width)} ${o.help}\n`;
  if (own.length > 0) out += `\noptions:\n${own.map(option).join("")}`;
  out += `\noptions of all commands:\n${GLOBAL_OPTIONS.map(option).join("")}`;
  const examples = matching.flatMap((c) => c.examples ?? []);
  if (examples.length > 0) out += `\nexamples:\n${examples.map((e) => `  ${e}\n`).join("")}`;
  return out;
}

/** RFC 3339, a day, now, -2h, +30m, @epoch → epoch seconds. */
export function readTime(text: string, now: number): number {
  const relative = /^([+-])(.+)$/.exec(text);
  if (text === "now") return Math.floor(now / 1000);
  if (/^@\d{1,11}$/.test(text)) return Number(text.slice(1));
  if (relative) {
    const ms = parseDuration(relative[2]!);
    if (ms !== undefined) return Math.floor((now + (relative[1] === "-" ? -ms : ms)) / 1000);
  }
  const ms = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(ms))
    throw new UsageError(`not a time: ${text} (e.g. 2026-11-20, -7d, +30m, now, @1795132800)`);
  return Math.floor(ms / 1000);
}

const TIMES: Readonly<Record<string, string>> = {
  since: "since",
  until: "until",
  before: "due_before",
  "due-after": "due_after",
};
const PASSED = [
  "kind",
  "domain",
  "rcpt",
  "sender",
  "state",
  "error",
  "org",
  "source",
  "result",
  "warning",
  "outcome",
  "reason",
  "limit",
  "after",
];

/** Options as query parameters. */
function query(
  { parsed, around }: Call,
  more: Readonly<Record<string, string | undefined>> = {},
): URLSearchParams {
  const params = new URLSearchParams();
  const known = new Set((parsed.command.options ?? []).map((o) => o.name));
  for (const [name, value] of Object.entries(parsed.options)) {
    if (value === true || !known.has(name)) continue;
    if (name in TIMES) params.set(TIMES[name]!, String(readTime(value, around.now)));
    else if (name === "format") params.set("kind", value);
    else if (PASSED.includes(name)) params.set(name, value);
  }
  for (const [name, value] of Object.entries(more)) if (value !== undefined) params.set(name, value);
  return params;
}

const withQuery = (path: string, params: URLSearchParams): string =>
  params.size > 0 ? `${path}?${params}` : path;

/** Prints a list in the wanted form. Tables are gathered, for their widths; the other forms flow. */
async function list(
  call: Call,
  path: string,
  human: readonly Column[],
  plain: readonly Column[] = human,
): Promise<number> {
  const { client, form, around } = call;
  const items: Item[] = [];
  if (form === "csv") around.out(`${plain.map((c) => c.title.toLowerCase()).join(",")}\r\n`);
  const end = await client.list(path, (item) => {
    if (form === "json") around.out(`${JSON.stringify(item)}\n`);
    else if (form === "plain") around.out(plainLine(plain, item));
    else if (form === "csv") around.out(csvLine(plain, item));
    else items.push(item);
  });
  if (form === "json") around.out(`${JSON.stringify({ end })}\n`);
  if (form === "table") {
    around.out(items.length > 0 ? table(human, items, around.columns) : "");
    around.err(`${end.count} found.\n`);
  }
  if (end.next !== null && form !== "json") around.err(`more: --after ${end.next}\n`);
  return EXIT.OK;
}

function show({ form, around }: Call, item: Item): void {
  around.out(form === "json" ? `${JSON.stringify(item)}\n` : details(item));
}

/** Does something for each id; what fails is told, the others go on. */
async function each(
  ids: readonly string[],
  around: Surroundings,
  work: (id: string) => Promise<void>,
): Promise<number> {
  let exit: number = EXIT.OK;
  for (const id of ids) {
    try {
      await work(id);
    } catch (error) {
      if (!(error instanceof ClientError) || error.exit !== EXIT.NOTHING) throw error;
      around.err(`mailreportctl: ${clean(error.message)}\n`);
      exit = EXIT.NOTHING;
    }
  }
  return exit;
}

const plural = (n: number, word: string): string => `${n} ${word}${n === 1 ? "" : "s"}`;
const isOutgoingId = (id: string): boolean => parseOutgoingId(id) !== undefined;

const VERBS: Readonly<Record<string, string>> = {
  schedule: "scheduled",
  remove: "removed",
  hold: "held",
  release: "released",
};

/** schedule, remove, hold, release: one request for envelopes, one each for owed reports. */
async function change(call: Call, action: "schedule" | "remove" | "hold" | "release"): Promise<number> {
  const { parsed, client, around } = call;
  const { operands, options } = parsed;
  const classic = parsed.command.words.includes("envelope");
  const verb = classic ? (action === "hold" ? "paused" : "resumed") : VERBS[action]!;
  const filter = Object.fromEntries(query(call));
  const all = operands.length === 1 && operands[0] === "all";
  const bad = operands.filter((id) => !all && !isMessageId(id) && !isEnvelopeId(id) && !isOutgoingId(id));
  if (bad.length > 0)
    throw new UsageError(
      `not an id: ${bad.join(" ")}`,
      "an id is 8 or 16 hex digits, or d!… or t!… of an owed report; all must be typed in full",
    );
  const wide = operands.length === 0 || all;
  if (wide && !all && Object.keys(filter).length === 0)
    throw new UsageError(`usage: mailreportctl ${usage(parsed.command)}`);
  const reports = operands.filter(isOutgoingId);
  let exit: number = EXIT.OK;
  if (reports.length > 0) exit = await changeReports(call, reports, action);
  const ids = operands.filter((id) => !isOutgoingId(id) && id !== "all");
  if (ids.length === 0 && !wide) return exit;
  const select = wide
    ? Object.keys(filter).length > 0
      ? { filter }
      : { all: true }
    : Object.keys(filter).length > 0
      ? { filter: { ...filter, ids } }
      : { ids };
  const body = {
    select,
    ...(options.time === undefined ? {} : { at: readTime(str(options.time), around.now) }),
    ...(options.reason ? { reason: str(options.reason) } : {}),
  };
  if (options["dry-run"] || (wide && !options.yes)) {
    const { matched } = await client.json<{ matched: number }>("POST", `/v1/actions/${action}`, {
      ...body,
      dry_run: true,
    });
    if (options["dry-run"]) {
      around.out(`${plural(matched, "envelope")} would be ${verb}\n`);
      return matched > 0 ? exit : EXIT.NOTHING;
    }
    if (matched > 0) {
      const answer = await around.confirm(
        `${plural(matched, "envelope")} would be ${verb}. Type ${matched} to go on: `,
      );
      if (answer === null) throw new UsageError(`${plural(matched, "envelope")} would be ${verb}; say --yes`);
      if (answer.trim() !== String(matched)) {
        around.err("mailreportctl: nothing was changed\n");
        return EXIT.INTERRUPTED;
      }
    }
  }
  const result = await client.json<{
    matched: number;
    changed: number;
    skipped: { id: string; code: string }[];
  }>("POST", `/v1/actions/${action}`, body);
  for (const { id, code } of result.skipped) around.err(`mailreportctl: ${id} is ${code}\n`);
  if (result.matched === 0) {
    for (const id of ids)
      around.err(`mailreportctl: no such ${isMessageId(id) ? "message" : "envelope"}: ${id}\n`);
    if (ids.length === 0) around.err("mailreportctl: nothing matched\n");
  }
  around.out(
    call.form === "json" ? `${JSON.stringify(result)}\n` : `${plural(result.changed, "envelope")} ${verb}\n`,
  );
  return result.changed > 0 && result.skipped.length === 0 ? exit : EXIT.NOTHING;
}

function changeReports(
  { client, around, parsed }: Call,
  ids: readonly string[],
  action: "schedule" | "remove" | "hold" | "release",
): Promise<number> {
  const route = { schedule: "send", remove: "cancel", hold: "hold", release: "release" }[action];
  if (action === "schedule" && parsed.options.time !== undefined)
    throw new UsageError("a time is for envelopes; report send sends now");
  return each(ids, around, async (id) => {
    const answer = await client.json<{ changed?: boolean }>(
      "POST",
      `/v1/outgoing/${encodeURIComponent(id)}/${route}`,
      {},
    );
    around.out(
      answer.changed === false
        ? `${id} was already ${action === "hold" ? "held" : "open"}\n`
        : `${id} ${VERBS[action] === "scheduled" ? "sent" : VERBS[action]}\n`,
    );
  });
}

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

const HANDLERS: Readonly<Record<string, Handler>> = {
  async help({ parsed, around }) {
    around.out(help(parsed.operands));
    return EXIT.OK;
  },
  async ping({ client, around }) {
    const { version, pid } = await client.json<{ version: string; pid: number }>("GET", "/v1");
    around.out(`mailreportd ${clean(version)} answers (pid ${pid})\n`);
    return EXIT.OK;
  },
  queue: (call) => {
    const { now } = call.around;
    const [id] = call.parsed.operands;
    if (id !== undefined && !isMessageId(id) && !isEnvelopeId(id))
      throw new UsageError("possibilities are:", "show queue <msgid>", "show queue <evpid>");
    return list(
      call,
      withQuery("/v1/queue", query(call, { id })),
      columns.queueColumns(now),
      columns.queuePlain(now),
    );
  },
  envelope: (call) =>
    each(call.parsed.operands, call.around, async (id) => {
      show(
        call,
        await call.client.json(
          "GET",
          `/v1/${isMessageId(id) ? "messages" : "envelopes"}/${encodeURIComponent(id)}`,
        ),
      );
    }),
  async message({ parsed, client, around }) {
    const bytes = await client.bytes(`/v1/messages/${encodeURIComponent(parsed.operands[0]!)}/raw`);
    around.out(bytes.toString("latin1"));
    return EXIT.OK;
  },
  async hosts({ client, around }) {
    const { items } = await client.json<{ items: Item[] }>("GET", "/v1/pauses");
    for (const p of items.filter((i) => i.subsystem === "mta" && i.destination !== null))
      around.out(`* -> ${clean(str(p.destination))}\n`);
    return EXIT.OK;
  },
  async suppressions(call) {
    const { items } = await call.client.json<{ items: Item[] }>("GET", "/v1/suppressions");
    for (const item of items) {
      call.around.out(
        call.form === "json"
          ? `${JSON.stringify(item)}\n`
          : `${["target", "until", "author", "reason"].map((k) => clean(str(item[k]))).join("|")}\n`,
      );
    }
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
  outgoing: (call) =>
    list(call, withQuery("/v1/outgoing", query(call)), columns.outgoingColumns(call.around.now)),
  async report(call) {
    const { parsed, client, around } = call;
    const id = parsed.operands[0]!;
    const owed = isOutgoingId(id);
    if (!owed && !/^r\d+$/.test(id))
      throw new UsageError(
        `not a report id: ${id} (r42 is a received one, d!domain or t!domain one that we owe)`,
      );
    if (parsed.options.raw) {
      const path = owed
        ? `/v1/outgoing/${encodeURIComponent(id)}/preview`
        : `/v1/received/${str((await client.json("GET", `/v1/reports/${id}`)).mail_id)}/raw`;
      around.out((await client.bytes(path)).toString("latin1"));
      return EXIT.OK;
    }
    if (parsed.options.rows && !owed) return list(call, `/v1/records?report=${id}`, columns.recordColumns);
    show(
      call,
      await client.json("GET", owed ? `/v1/outgoing/${encodeURIComponent(id)}` : `/v1/reports/${id}`),
    );
    return EXIT.OK;
  },
  received: (call) => {
    const { now } = call.around;
    if (!call.parsed.options.reports)
      return list(call, withQuery("/v1/received", query(call)), columns.receivedColumns(now));
    return list(call, withQuery("/v1/reports", query(call)), columns.reportColumns(now));
  },
  async mail(call) {
    const id = call.parsed.operands[0]!;
    if (!/^m\d+$/.test(id)) throw new UsageError(`not a mail id: ${id}`);
    if (call.parsed.options.raw)
      call.around.out((await call.client.bytes(`/v1/received/${id}/raw`)).toString("latin1"));
    else show(call, await call.client.json("GET", `/v1/received/${id}`));
    return EXIT.OK;
  },
  records: (call) =>
    list(
      call,
      withQuery("/v1/records", query(call, { domain: call.parsed.operands[0] })),
      columns.recordColumns,
    ),
  domains: (call) =>
    list(call, withQuery("/v1/domains", query(call)), columns.domainColumns(call.around.now)),
  sources: (call) =>
    list(
      call,
      withQuery("/v1/sources", query(call, { domain: call.parsed.operands[0] })),
      columns.sourceColumns,
    ),
  reporters: (call) =>
    list(call, withQuery("/v1/reporters", query(call)), columns.reporterColumns(call.around.now)),
  tls: (call) =>
    list(
      call,
      withQuery("/v1/reports", query(call, { kind: "tls", domain: call.parsed.operands[0] })),
      columns.reportColumns(call.around.now),
    ),
  failures: (call) =>
    list(
      call,
      withQuery("/v1/reports", query(call, { kind: "failure" })),
      columns.reportColumns(call.around.now),
    ),
  dsn: (call) =>
    list(
      call,
      withQuery("/v1/reports", query(call, { kind: "dsn" })),
      columns.reportColumns(call.around.now),
    ),
  schedule: (call) => change(call, "schedule"),
  remove: (call) => change(call, "remove"),
  hold: (call) => change(call, "hold"),
  release: (call) => change(call, "release"),
  pause: (call) => steer(call, "pause"),
  resume: (call) => steer(call, "resume"),
  reportStatus: (call) =>
    each(call.parsed.operands, call.around, async (id) => {
      show(call, await call.client.json("GET", `/v1/outgoing/${encodeURIComponent(id)}`));
    }),
  reportCancel: (call) => changeReports(call, call.parsed.operands, "remove"),
  reportSend: (call) =>
    each(call.parsed.operands, call.around, async (id) => {
      const answer = await call.client.json<{ id: string; message_ids: string[] }>(
        "POST",
        `/v1/outgoing/${encodeURIComponent(id)}/send`,
        {},
      );
      call.around.out(
        call.form === "json"
          ? `${JSON.stringify(answer)}\n`
          : `${clean(answer.id)} composed: ${plural(answer.message_ids.length, "message")} ${answer.message_ids.join(" ")}\n`,
      );
    }),
  async reportPreview({ parsed, client, around }) {
    around.out(
      (await client.bytes(`/v1/outgoing/${encodeURIComponent(parsed.operands[0]!)}/preview`)).toString(
        "latin1",
      ),
    );
    return EXIT.OK;
  },
  async reportExplain(call) {
    const answer = await call.client.json<
      { gates: { gate: string; ok: boolean; detail: string }[]; verdict: string } & Item
    >("GET", `/v1/outgoing/${encodeURIComponent(call.parsed.operands[0]!)}/explain`);
    if (call.form === "json") show(call, answer);
    else {
      for (const { gate, ok, detail } of answer.gates)
        call.around.out(`${ok ? "ok  " : "FAIL"}  ${clean(gate)}: ${clean(detail)}\n`);
      call.around.out(`verdict: ${clean(answer.verdict)}\n`);
    }
    return EXIT.OK;
  },
  feed,
  import: ({ parsed, client, form, around }) => runImport(parsed.operands, client, form, around),
  check: ({ parsed, form, around }) => runCheck(parsed.operands, form, around),
  async reparse({ parsed, client, around, form }) {
    const { operands, options } = parsed;
    const body =
      operands.length > 0
        ? { ids: operands }
        : options.outcome
          ? { outcome: options.outcome }
          : options.all
            ? { all: true }
            : null;
    if (body === null)
      throw new UsageError(`usage: mailreportctl ${usage(parsed.command)} (or --outcome OUTCOME, --all)`);
    const { read, outcomes } = await client.json<{ read: number; outcomes: Record<string, number> }>(
      "POST",
      "/v1/reparse",
      body,
    );
    around.out(
      form === "json"
        ? `${JSON.stringify({ read, outcomes })}\n`
        : `${plural(read, "mail")} read again${Object.entries(outcomes)
            .map(([k, n]) => `, ${n} ${k}`)
            .join("")}\n`,
    );
    return read > 0 ? EXIT.OK : EXIT.NOTHING;
  },
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
};
