/** Commands about received reports: lists, one mail or report; import, check, reparse. */
import { ERROR_CODES, type ErrorCode } from "../../lib/errors.ts";
import { EXIT } from "../../lib/exit.ts";
import { clean } from "../../lib/text.ts";
import { RECORDS } from "../../model/lists/records.ts";
import { type Call, type Handler, isOutgoingId, plural, query, reasonOf, show, withQuery } from "../call.ts";
import { UsageError, usage } from "../grammar.ts";
import { str } from "../render.ts";
import { runCheck } from "./check.ts";
import { runExport } from "./export.ts";
import { runImport } from "./import.ts";
import { runList, showList } from "./list.ts";

/** The path of one object, with --wait if it was given. */
const waited = (call: Call, path: string): string => withQuery(path, query(call));

export const ARCHIVE_HANDLERS: Readonly<Record<string, Handler>> = {
  async report(call) {
    const { parsed, client, around } = call;
    const id = parsed.operands[0]!;
    const outgoing = isOutgoingId(id);
    if (!outgoing && !/^r\d+$/.test(id))
      throw new UsageError(
        `not a report id: ${id} (r42 is a received one, d!domain or t!domain an outgoing one)`,
      );
    if (parsed.options.raw) {
      const path = outgoing
        ? `/v1/outgoing/${encodeURIComponent(id)}/preview`
        : `/v1/received/${str((await client.json("GET", waited(call, `/v1/reports/${id}`))).mail_id)}/raw`;
      around.outBytes(await client.bytes(path));
      return EXIT.OK;
    }
    if (parsed.options.rows && !outgoing) return showList(call, RECORDS, { report: id });
    show(
      call,
      await client.json(
        "GET",
        outgoing ? `/v1/outgoing/${encodeURIComponent(id)}` : waited(call, `/v1/reports/${id}`),
      ),
    );
    return EXIT.OK;
  },
  list: (call) => runList(call),
  export: (call) => runExport(call),
  async mail(call) {
    const id = call.parsed.operands[0]!;
    if (!/^m\d+$/.test(id)) throw new UsageError(`not a mail id: ${id}`);
    if (call.parsed.options.raw) call.around.outBytes(await call.client.bytes(`/v1/received/${id}/raw`));
    else show(call, await call.client.json("GET", waited(call, `/v1/received/${id}`)));
    return EXIT.OK;
  },
  import: (call) => runImport(call),
  check: (call) => runCheck(call),
  reparse: (call) => reparse(call),
};

/** `reparse` of named mails or reports, of an outcome, or of all; `ingest retry` alone parses what failed. */
async function reparse(call: Call): Promise<number> {
  const { parsed, client, around, form } = call;
  const { operands, options, command } = parsed;
  const bad = operands.filter((id) => !/^[mr]\d+$/.test(id));
  if (bad.length > 0) throw new UsageError(`not a mail or report id: ${bad.join(" ")} (m42, r42)`);
  const outcome = options.outcome ?? options.state ?? (command.words[0] === "ingest" ? "failed" : undefined);
  const wide = options.all ? { all: true } : outcome === undefined ? null : { outcome };
  const select = operands.length > 0 ? { ids: operands } : wide;
  if (select === null)
    throw new UsageError(`usage: mailreportctl ${usage(command)} (or --state OUTCOME, --all)`);
  const dryRun = options["dry-run"] === true;
  const answer = await client.json<{
    parsed: number;
    outcomes: Record<string, number>;
    skipped: { id: string; code: ErrorCode }[];
    no_raw: number;
  }>("POST", "/v1/reparse", { ...select, dry_run: dryRun, ...reasonOf(call) });
  const { parsed: count, outcomes, skipped, no_raw } = answer;
  for (const { id, code } of skipped) around.err(`mailreportctl: ${ERROR_CODES[code].text}: ${clean(id)}\n`);
  if (no_raw > 0) around.err(`${plural(no_raw, "mail")} without stored bytes skipped\n`);
  const counts = Object.entries(outcomes).map(([name, n]) => `, ${n} ${clean(name)}`);
  const done = dryRun ? "would be parsed again" : "parsed again";
  around.out(
    form === "json" ? `${JSON.stringify(answer)}\n` : `${plural(count, "mail")} ${done}${counts.join("")}\n`,
  );
  return count > 0 && skipped.length === 0 ? EXIT.OK : EXIT.NOTHING;
}
