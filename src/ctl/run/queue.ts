/** Commands about the queue: envelopes and messages. */
import { EXIT } from "../../lib/exit.ts";
import { isEnvelopeId, isMessageId } from "../../lib/ids.ts";
import { clean } from "../../lib/text.ts";
import { type Call, each, type Handler, isOutgoingId, plural, query, reasonOf, show } from "../call.ts";
import { UsageError, usage } from "../grammar.ts";
import { str } from "../render.ts";
import { readTime } from "../times.ts";
import { changeReports } from "./outgoing.ts";

/** Past participles of the actions on envelopes. */
const VERBS = {
  schedule: "scheduled",
  remove: "removed",
  hold: "held",
  release: "released",
  undelete: "undeleted",
  requeue: "requeued",
} as const;
type Action = keyof typeof VERBS;

interface Changed {
  readonly matched: number;
  readonly changed: number;
  readonly skipped: readonly { readonly id: string; readonly code: string }[];
}

/** schedule, remove, hold, release, undelete, requeue: one request for envelopes, one each for outgoing reports. */
async function change(call: Call, action: Action): Promise<number> {
  const { parsed, client, around } = call;
  const { options } = parsed;
  const filter = Object.fromEntries(query(call));
  const { ids, reports, wide } = selectionOf(call, Object.keys(filter).length > 0);
  let exit: number = EXIT.OK;
  if (reports.length > 0) {
    if (action === "requeue")
      throw new UsageError(`${reports[0]} is an outgoing report: requeue is for envelopes and messages`);
    exit = await changeReports(call, reports, action);
  }
  if (ids.length === 0 && !wide) return exit;
  const select =
    Object.keys(filter).length > 0
      ? { filter: ids.length > 0 ? { ...filter, ids } : filter }
      : wide
        ? { all: true }
        : { ids };
  const body = {
    select,
    ...(options.time === undefined ? {} : { at: readTime(str(options.time), around.now) }),
    ...reasonOf(call),
  };
  const path = `/v1/actions/${action}`;
  const classic = parsed.command.words.includes("envelope");
  const verb = classic ? (action === "hold" ? "paused" : "resumed") : VERBS[action];
  if (options["dry-run"] || (wide && !options.yes)) {
    const would = await client.json<Changed>("POST", path, { ...body, dry_run: true });
    const text = `${plural(would.changed, "envelope")} would be ${verb}`;
    if (options["dry-run"]) {
      tellSkipped(call, would, ids);
      around.out(call.form === "json" ? `${JSON.stringify(would)}\n` : `${text}\n`);
      return would.changed > 0 && would.skipped.length === 0 ? exit : EXIT.NOTHING;
    }
    if (would.changed > 0) {
      const answer = await around.confirm(`${text}. Type ${would.changed} to go on: `);
      if (answer === null) throw new UsageError(`${text}; say --yes`);
      if (answer.trim() !== String(would.changed)) {
        around.err("mailreportctl: nothing was changed\n");
        return EXIT.INTERRUPTED;
      }
    }
  }
  const result = await client.json<Changed>("POST", path, body);
  tellSkipped(call, result, ids);
  around.out(
    call.form === "json" ? `${JSON.stringify(result)}\n` : `${plural(result.changed, "envelope")} ${verb}\n`,
  );
  return result.changed > 0 && result.skipped.length === 0 ? exit : EXIT.NOTHING;
}

/** What the operands of an action name. `wide`: all, or filters alone. Throws UsageError. */
function selectionOf(
  { parsed: { operands, command } }: Call,
  filtered: boolean,
): { readonly ids: string[]; readonly reports: string[]; readonly wide: boolean } {
  if (operands.length === 1 && operands[0] === "all") return { ids: [], reports: [], wide: true };
  const reports = operands.filter(isOutgoingId);
  const ids = operands.filter((id) => isMessageId(id) || isEnvelopeId(id));
  const bad = operands.filter((id) => !reports.includes(id) && !ids.includes(id));
  if (bad.length > 0)
    throw new UsageError(
      `not an id: ${bad.join(" ")}`,
      "an id is 8 or 16 hex digits, or d!… or t!… of an outgoing report; all must be typed in full",
    );
  if (operands.length === 0 && !filtered) throw new UsageError(`usage: mailreportctl ${usage(command)}`);
  return { ids, reports, wide: operands.length === 0 };
}

const SKIPPED: Readonly<Record<string, string>> = {
  suppressed: "suppressed by an operator; see: mailreportctl suppress list",
  expires_before: "expired by that time; a schedule does not extend its life",
};

/** Says which envelopes were skipped and why, and which ids there are none of. */
function tellSkipped({ around }: Call, result: Changed, ids: readonly string[]): void {
  for (const { id, code } of result.skipped) around.err(`mailreportctl: ${id} is ${SKIPPED[code] ?? code}\n`);
  if (result.matched > 0) return;
  for (const id of ids)
    around.err(`mailreportctl: no such ${isMessageId(id) ? "message" : "envelope"}: ${id}\n`);
  if (ids.length === 0) around.err("mailreportctl: nothing matched\n");
}

export const QUEUE_HANDLERS: Readonly<Record<string, Handler>> = {
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
    await client.list("/v1/pauses?subsystem=mta", ({ destination }) => {
      if (destination !== null) around.out(`* -> ${clean(str(destination))}\n`);
    });
    return EXIT.OK;
  },
  schedule: (call) => change(call, "schedule"),
  remove: (call) => change(call, "remove"),
  hold: (call) => change(call, "hold"),
  release: (call) => change(call, "release"),
  undelete: (call) => change(call, "undelete"),
  requeue: (call) => change(call, "requeue"),
};
