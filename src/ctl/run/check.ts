/** `check`, and `import --dry-run`: parses files on this side of the socket and stores nothing. */
import { EXIT } from "../../lib/exit.ts";
import { clean } from "../../lib/text.ts";
import type { WireFile } from "../../model/wire-report.ts";
import { type Call, plural } from "../call.ts";
import { piecesOf } from "../files.ts";
import { str } from "../render.ts";

/** Checks what `import` would import: directories recursively, each member of a collection by itself. */
export async function runCheck(call: Call): Promise<number> {
  const { around, form } = call;
  return checkAll(call, (result) =>
    around.out(form === "json" ? `${JSON.stringify(result)}\n` : human(result)),
  );
}

/** Tells what `import` would parse. The daemon is not asked, so that stored reports are not known. */
export async function runImportDryRun(call: Call): Promise<number> {
  const { around, form } = call;
  const counts: Record<string, number> = {};
  let count = 0;
  const exit = await checkAll(call, (result) => {
    count++;
    counts[result.outcome] = (counts[result.outcome] ?? 0) + 1;
    around.out(form === "json" ? `${JSON.stringify(result)}\n` : human(result));
  });
  const outcomes = Object.entries(counts).map(([name, n]) => `${name} ${n}`);
  around.out(
    form === "json"
      ? `${JSON.stringify({ end: { count, ...counts, dry_run: true } })}\n`
      : `${plural(count, "file")} would be parsed and stored${outcomes.length > 0 ? `: ${outcomes.join(", ")}` : ""}\n`,
  );
  around.err(
    "note: nothing was stored; reports that are stored already would be duplicates, which this does not show\n",
  );
  return exit;
}

async function checkAll({ parsed, around }: Call, onResult: (result: WireFile) => void): Promise<number> {
  const { check, split } = await around.files();
  let invalid = false;
  let lost: number = EXIT.OK;
  const pieces = piecesOf(parsed.operands, around.stdin, split, ({ message, exit }) => {
    if (lost !== EXIT.DATAERR) lost = exit;
    around.err(`mailreportctl: ${clean(message)}\n`);
  });
  for await (const piece of pieces) {
    const result = check(piece);
    if (result.outcome === "invalid") invalid = true;
    onResult(result);
  }
  return invalid ? EXIT.DATAERR : lost;
}

function human({ file, member, outcome, reason, reports }: WireFile): string {
  const name = member === undefined ? file : `${file}#${member}`;
  const lines = [`${clean(name)}: ${outcome}${reason === null ? "" : ` (${reason})`}`];
  for (const r of reports) {
    const range = [r.begin, r.end]
      .map((t) => (t === null ? "-" : new Date(t * 1000).toISOString().slice(0, 16)))
      .join(" to ");
    lines.push(
      `  ${r.kind} ${clean(str(r.org_name))} ${clean(str(r.report_id))} ${clean(str(r.policy_domain))} ${range}: ${r.records} rows, ${r.messages} messages, ${str(r.pass_messages)} pass`,
    );
    if (r.warnings.length > 0) lines.push(`  warnings: ${r.warnings.join(" ")}`);
  }
  return lines.map((line) => `${line}\n`).join("");
}
