/** Commands about the queue: envelopes, messages, outgoing reports. */
import { EXIT } from "../../lib/exit.ts";
import { isEnvelopeId, isMessageId } from "../../lib/ids.ts";
import { clean } from "../../lib/text.ts";
import {
  type Call,
  each,
  type Handler,
  isOutgoingId,
  list,
  plural,
  query,
  show,
  withQuery,
} from "../call.ts";
import * as columns from "../columns.ts";
import { UsageError, usage } from "../grammar.ts";
import { type Item, str } from "../render.ts";
import { readTime } from "../times.ts";

const VERBS: Readonly<Record<string, string>> = {
  schedule: "scheduled",
  remove: "removed",
  hold: "held",
  release: "released",
  undelete: "undeleted",
};

/** schedule, remove, hold, release: one request for envelopes, one each for outgoing reports. */
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
      "an id is 8 or 16 hex digits, or d!… or t!… of an outgoing report; all must be typed in full",
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

type ReportAction = "schedule" | "remove" | "hold" | "release" | "undelete";

/** What an action on an outgoing report is called by the daemon. */
const REPORT_ROUTES: Readonly<Record<ReportAction, string>> = {
  schedule: "schedule",
  remove: "cancel",
  hold: "hold",
  release: "release",
  undelete: "undelete",
};

/** One request for each outgoing report. `schedule` without a time sends now. */
function changeReports(call: Call, ids: readonly string[], action: ReportAction): Promise<number> {
  const { client, around, parsed } = call;
  const { time, reason } = parsed.options;
  if (action === "schedule" && time === undefined) return sendReports(call, ids);
  const dryRun = parsed.options["dry-run"] === true;
  const body = {
    dry_run: dryRun,
    ...(reason ? { reason: str(reason) } : {}),
    ...(action === "schedule" ? { at: readTime(str(time), around.now) } : {}),
  };
  return each(ids, around, async (id) => {
    const path = `/v1/outgoing/${encodeURIComponent(id)}/${REPORT_ROUTES[action]}`;
    const answer = await client.json<Item & { changed?: boolean }>("POST", path, body);
    around.out(
      call.form === "json" ? `${JSON.stringify(answer)}\n` : `${reportLine(id, action, answer, dryRun)}\n`,
    );
  });
}

function reportLine(
  id: string,
  action: ReportAction,
  answer: Item & { changed?: boolean },
  dryRun: boolean,
): string {
  if (answer.changed === false)
    return action === "schedule"
      ? `${id} is not open`
      : `${id} was already ${action === "hold" ? "held" : "open"}`;
  const would = dryRun ? "would be " : "";
  if (action !== "undelete") return `${id} ${would}${VERBS[action]}`;
  const merged = answer.merged ? `; ${clean(str(answer.merged))} becomes a part of it` : "";
  return `${clean(str(answer.id))} ${would}${VERBS[action]}: ${str(answer.state)}, due ${str(answer.due)}${merged}`;
}

/** Sends outgoing reports now. */
function sendReports({ client, around, parsed, form }: Call, ids: readonly string[]): Promise<number> {
  const { reason } = parsed.options;
  const body = { dry_run: parsed.options["dry-run"] === true, ...(reason ? { reason: str(reason) } : {}) };
  return each(ids, around, async (id) => {
    const path = `/v1/outgoing/${encodeURIComponent(id)}/send`;
    const answer = await client.json<{ id: string; message_ids?: string[]; to?: string[] }>(
      "POST",
      path,
      body,
    );
    const sent = answer.message_ids;
    around.out(
      form === "json"
        ? `${JSON.stringify(answer)}\n`
        : sent
          ? `${clean(answer.id)} composed: ${plural(sent.length, "message")} ${sent.join(" ")}\n`
          : `${clean(answer.id)} would be sent to ${clean((answer.to ?? []).join(", "))}\n`,
    );
  });
}

export const QUEUE_HANDLERS: Readonly<Record<string, Handler>> = {
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
    around.outBytes(bytes);
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
  outgoing: (call) =>
    list(call, withQuery("/v1/outgoing", query(call)), columns.outgoingColumns(call.around.now)),
  schedule: (call) => change(call, "schedule"),
  remove: (call) => change(call, "remove"),
  hold: (call) => change(call, "hold"),
  release: (call) => change(call, "release"),
  reportStatus: (call) =>
    each(call.parsed.operands, call.around, async (id) => {
      show(call, await call.client.json("GET", `/v1/outgoing/${encodeURIComponent(id)}`));
    }),
  reportCancel: (call) => changeReports(call, call.parsed.operands, "remove"),
  reportSend: (call) => sendReports(call, call.parsed.operands),
  reportUndelete: (call) => changeReports(call, call.parsed.operands, "undelete"),
  async reportPreview({ parsed, client, around }) {
    around.outBytes(await client.bytes(`/v1/outgoing/${encodeURIComponent(parsed.operands[0]!)}/preview`));
    return EXIT.OK;
  },
  async reportExplain(call) {
    const answer = await call.client.json<
      { checks: { check: string; ok: boolean; detail: string }[]; verdict: string } & Item
    >("GET", `/v1/outgoing/${encodeURIComponent(call.parsed.operands[0]!)}/explain`);
    if (call.form === "json") show(call, answer);
    else {
      for (const { check, ok, detail } of answer.checks)
        call.around.out(`${ok ? "ok  " : "FAIL"}  ${clean(check)}: ${clean(detail)}\n`);
      call.around.out(`verdict: ${clean(answer.verdict)}\n`);
    }
    return EXIT.OK;
  },
};
