/** Commands about outgoing reports. */
import { EXIT } from "../../lib/exit.ts";
import { clean } from "../../lib/text.ts";
import { type Call, each, type Handler, plural, reasonOf, show } from "../call.ts";
import { type Item, str } from "../render.ts";
import { readTime } from "../times.ts";

type ReportAction = "schedule" | "remove" | "hold" | "release" | "undelete";

/** What an action on an outgoing report is called by the daemon. */
const REPORT_ROUTES: Readonly<Record<ReportAction, string>> = {
  schedule: "schedule",
  remove: "cancel",
  hold: "hold",
  release: "release",
  undelete: "undelete",
};

const REPORT_VERBS: Readonly<Record<ReportAction, string>> = {
  schedule: "scheduled",
  remove: "cancelled",
  hold: "held",
  release: "released",
  undelete: "undeleted",
};

/** One request for each outgoing report. `schedule` without a time sends now. */
export function changeReports(call: Call, ids: readonly string[], action: ReportAction): Promise<number> {
  const { client, around, parsed } = call;
  const { time } = parsed.options;
  if (action === "schedule" && time === undefined) return sendReports(call, ids);
  const dryRun = parsed.options["dry-run"] === true;
  const body = {
    dry_run: dryRun,
    ...reasonOf(call),
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
  if (action !== "undelete") return `${id} ${would}${REPORT_VERBS[action]}`;
  const merged = answer.merged ? `; ${clean(str(answer.merged))} becomes a part of it` : "";
  return `${clean(str(answer.id))} ${would}${REPORT_VERBS[action]}: ${str(answer.state)}, due ${str(answer.due)}${merged}`;
}

/** Sends outgoing reports now. */
function sendReports(call: Call, ids: readonly string[]): Promise<number> {
  const { client, around, parsed, form } = call;
  const body = { dry_run: parsed.options["dry-run"] === true, ...reasonOf(call) };
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

export const OUTGOING_HANDLERS: Readonly<Record<string, Handler>> = {
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
        call.around.out(
          `${ok ? "ok  " : "FAIL"}  ${clean(check)}${detail === "" ? "" : `: ${clean(detail)}`}\n`,
        );
      call.around.out(`verdict: ${clean(answer.verdict)}\n`);
    }
    return EXIT.OK;
  },
};
