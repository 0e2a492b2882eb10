/** `import`: sends files to the daemon and prints the outcome of each that is not simply stored. */
import { EXIT } from "../../lib/exit.ts";
import { clean } from "../../lib/text.ts";
import { type Call, plural, reasonOf, withQuery } from "../call.ts";
import { ClientError, exitOf } from "../client.ts";
import { type FoundPiece, piecesOf } from "../files.ts";
import { type Item, str } from "../render.ts";
import { runImportDryRun } from "./check.ts";

/** Outcomes that need no line of their own. */
const UNREMARKABLE = ["imported", "imported-with-warnings", "duplicate"];

/** Control sequences of terminals (ECMA-48 EL): erase to the end of the line; to its beginning, and erase it. */
const ERASE_REST = "\u001b[K";
const ERASE_LINE = `\r${ERASE_REST}`;

/** Frame of one piece: u32 header length, JSON header, u32 body length, bytes. */
function frame({ path, member, form, raw }: FoundPiece): Buffer {
  const json = Buffer.from(JSON.stringify({ file: path, member, form }));
  const lengths = Buffer.alloc(8);
  lengths.writeUInt32BE(json.length, 0);
  lengths.writeUInt32BE(raw.byteLength, 4);
  return Buffer.concat([lengths.subarray(0, 4), json, lengths.subarray(4), raw]);
}

/** What the daemon answered so far. */
class Progress {
  readonly #call: Call;
  readonly outcomes: Record<string, number> = {};
  sent = 0;
  answered = 0;
  /** The first item that was refused, and its error. */
  refused: { readonly name: string; readonly code: string } | undefined;

  constructor(call: Call) {
    this.#call = call;
  }

  item(item: Item): void {
    const { form, around } = this.#call;
    this.answered++;
    const error = item.error as { code: string; message: string } | undefined;
    const outcome = error === undefined ? str(item.outcome) : "refused";
    this.outcomes[outcome] = (this.outcomes[outcome] ?? 0) + 1;
    const name = `${str(item.file)}${item.member ? `#${str(item.member)}` : ""}`;
    if (error !== undefined) this.refused ??= { name, code: error.code };
    if (form === "json") around.out(`${JSON.stringify(item)}\n`);
    else if (form === "table") around.err(`\r${this.answered} of ${this.sent} parsed${ERASE_REST}`);
    if (form === "json" || UNREMARKABLE.includes(outcome)) return;
    const why = error?.message ?? str(item.reason);
    around.err(
      `${form === "table" ? ERASE_LINE : ""}${clean(name)}: ${clean(outcome)}${why === "" ? "" : `: ${clean(why)}`}\n`,
    );
  }

  /** Makes room on a terminal for a line in place of the progress. */
  erase(): void {
    if (this.#call.form === "table" && this.answered > 0) this.#call.around.err(ERASE_LINE);
  }

  get text(): string {
    const counts = Object.entries(this.outcomes).map(([name, n]) => `${name} ${n}`);
    return counts.length > 0 ? counts.join(", ") : "nothing to import";
  }
}

/** Carries out `import`. */
export async function runImport(call: Call): Promise<number> {
  const { parsed, client, form, around } = call;
  if (parsed.options["dry-run"]) return runImportDryRun(call);
  const { split } = await around.files();
  const progress = new Progress(call);
  let lost: number = EXIT.OK;
  async function* body(): AsyncGenerator<Uint8Array, undefined> {
    const skip = ({ message, exit }: ClientError): void => {
      if (lost !== EXIT.DATAERR) lost = exit;
      progress.erase();
      around.err(`mailreportctl: ${clean(message)}\n`);
    };
    for await (const piece of piecesOf(parsed.operands, around.stdin, split, skip)) {
      progress.sent++;
      yield frame(piece);
    }
    return undefined;
  }
  try {
    const path = withQuery("/v1/import", new URLSearchParams(reasonOf(call)));
    const end = await client.stream(path, body(), (item) => progress.item(item));
    progress.erase();
    const { count, next: _next, ...rest } = end;
    around.out(form === "json" ? `${JSON.stringify({ end: { count, ...rest } })}\n` : `${progress.text}\n`);
    if (end.error !== undefined) return endedEarly(call, end.error, progress);
  } catch (error) {
    progress.erase();
    if (error instanceof ClientError && progress.sent > 0) {
      const open = plural(progress.sent - progress.answered, "file");
      around.err(
        `mailreportctl: the import is not complete: ${progress.text}; ${open} sent without an answer\n`,
      );
    }
    throw error;
  }
  if (progress.refused) return exitOf(progress.refused.code);
  return (progress.outcomes.invalid ?? 0) > 0 ? EXIT.DATAERR : lost;
}

/** The daemon could not go on: prints the first file that was not imported. */
function endedEarly(
  { around }: Call,
  { code, message }: { readonly code: string; readonly message: string },
  { refused }: Progress,
): number {
  const from = refused === undefined ? "the rest was" : `${clean(refused.name)} and what follows it were`;
  around.err(`mailreportctl: ${clean(message)}: ${from} not imported\n`);
  return exitOf(code);
}
