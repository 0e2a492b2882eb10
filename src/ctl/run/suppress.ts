/** Commands about the suppression list: addresses and domains that no report is sent to. */
import { EXIT } from "../../lib/exit.ts";
import { clean } from "../../lib/text.ts";
import { parseDuration } from "../../lib/units.ts";
import { type Call, type Handler, plural, reasonOf, withQuery } from "../call.ts";
import { UsageError } from "../grammar.ts";
import { type Item, str } from "../render.ts";
import { readTime } from "../times.ts";

/** Epoch seconds of --until or --for; null when neither is given. Throws UsageError. */
function endOf({ parsed: { options }, around }: Call): number | null {
  const { until, for: period } = options;
  if (until !== undefined && period !== undefined)
    throw new UsageError("--until and --for exclude each other");
  if (period !== undefined) {
    const ms = parseDuration(str(period).replace(/^\+/, ""));
    if (ms === undefined || ms <= 0) throw new UsageError(`not a period: ${str(period)}`, "such as 12h, 7d");
    return Math.floor((around.now + ms) / 1000);
  }
  if (until === undefined) return null;
  const time = readTime(str(until), around.now);
  if (time * 1000 <= around.now) throw new UsageError(`--until ${str(until)} is in the past`);
  return time;
}

const endText = (until: unknown): string => (until === null ? "" : ` until ${str(until)}`);

/** One line about an entry; a reason only if it has one. */
function entryText({ target, until, author, reason }: Item): string {
  const why = str(reason) === "" ? "" : `: ${clean(str(reason))}`;
  return `${clean(str(target))} is suppressed${endText(until)} (${str(author)})${why}`;
}

async function add(call: Call): Promise<number> {
  const { parsed, client, form, around } = call;
  const [target, ...words] = parsed.operands;
  const dryRun = parsed.options["dry-run"] === true;
  const reason = words.join(" ") || str(parsed.options.reason);
  const body = { target, until: endOf(call), reason, dry_run: dryRun };
  const answer = await client.json<{ entry: Item; replaced: Item | null; waiting: number }>(
    "POST",
    "/v1/suppressions",
    body,
  );
  if (form === "json") around.out(`${JSON.stringify(answer)}\n`);
  else {
    const { entry, replaced, waiting } = answer;
    around.out(
      `${clean(str(entry.target))} ${dryRun ? "would be suppressed" : "suppressed"}${endText(entry.until)}\n`,
    );
    if (replaced !== null) around.out(`${dryRun ? "would replace" : "replaced"}: ${entryText(replaced)}\n`);
    if (waiting > 0)
      around.out(`${plural(waiting, "waiting envelope")} ${dryRun ? "would" : "will"} not be sent\n`);
  }
  return EXIT.OK;
}

async function remove(call: Call): Promise<number> {
  const { parsed, client, form, around } = call;
  const { operands, options } = parsed;
  const dryRun = options["dry-run"] === true;
  const body = {
    targets: operands,
    dry_run: dryRun,
    ...reasonOf(call),
  };
  const answer = await client.json<{ removed: Item[]; skipped: { id: string; code: string }[] }>(
    "POST",
    "/v1/suppressions/remove",
    body,
  );
  for (const { id } of answer.skipped) around.err(`mailreportctl: not suppressed: ${clean(id)}\n`);
  if (form === "json") around.out(`${JSON.stringify(answer)}\n`);
  else
    for (const { target } of answer.removed)
      around.out(`${clean(str(target))} ${dryRun ? "would no longer be" : "is no longer"} suppressed\n`);
  return answer.skipped.length === 0 ? EXIT.OK : EXIT.NOTHING;
}

/** Exit code 0: it is suppressed; 1: it is not. */
async function lookup({ parsed, client, form, around }: Call): Promise<number> {
  const target = parsed.operands[0]!;
  const answer = await client.json<{ suppressed: boolean; waiting: number; entries: Item[] }>(
    "GET",
    withQuery("/v1/suppressions/lookup", new URLSearchParams({ target })),
  );
  if (form === "json") around.out(`${JSON.stringify(answer)}\n`);
  else if (!answer.suppressed) around.out(`${clean(target)} is not suppressed\n`);
  else for (const entry of answer.entries) around.out(`${entryText(entry)}\n`);
  return answer.suppressed ? EXIT.OK : EXIT.NOTHING;
}

export const SUPPRESS_HANDLERS: Readonly<Record<string, Handler>> = {
  suppressAdd: add,
  suppressRemove: remove,
  suppressLookup: lookup,
};
