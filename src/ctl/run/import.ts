/** `import` and `check`: files on this side of the socket. */
import { createReadStream } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { EXIT } from "../../lib/exit.ts";
import { clean } from "../../lib/text.ts";
import type { WireFile } from "../../model/wire-report.ts";
import type { Client } from "../client.ts";
import { type Form, str } from "../render.ts";

/** One thing inside a collection (mbox, tar), or a file itself. */
export interface Piece {
  /** Name inside a collection; null for the file itself. */
  readonly member: string | null;
  readonly raw: Uint8Array;
  readonly form: "mail" | "file";
}

/** What the program hands in, so that this part knows no formats. */
export interface FileTools {
  check(raw: Uint8Array, file: string): WireFile;
  /** Splits mbox and tar archives; anything else is one piece. */
  split(chunks: AsyncIterable<Uint8Array>, name: string): AsyncIterable<Piece>;
}

interface Out {
  out(text: string): void;
  err(text: string): void;
  readonly stdin: AsyncIterable<Uint8Array>;
  readonly files: () => Promise<FileTools>;
  readonly stdoutIsTTY: boolean;
}

export function fileSource(path: string): AsyncIterable<Uint8Array> {
  return createReadStream(path);
}

/** Files below the paths, directories in the order of their names; hidden files and Maildir's tmp are skipped. */
async function* filesOf(
  paths: readonly string[],
  onMissing: (path: string, why: string) => void,
): AsyncGenerator<string> {
  for (const path of paths) {
    if (path === "-") {
      yield path;
      continue;
    }
    try {
      if (!(await stat(path)).isDirectory()) yield path;
      else {
        const names = (await readdir(path)).sort().filter((name) => !name.startsWith(".") && name !== "tmp");
        yield* filesOf(
          names.map((name) => join(path, name)),
          onMissing,
        );
      }
    } catch (error) {
      onMissing(
        path,
        (error as NodeJS.ErrnoException).code === "ENOENT" ? "no such file" : (error as Error).message,
      );
    }
  }
}

function frame(header: object, body: Uint8Array): Buffer {
  const json = Buffer.from(JSON.stringify(header));
  const lengths = Buffer.alloc(8);
  lengths.writeUInt32BE(json.length, 0);
  lengths.writeUInt32BE(body.byteLength, 4);
  return Buffer.concat([lengths.subarray(0, 4), json, lengths.subarray(4), body]);
}

export async function runImport(
  paths: readonly string[],
  client: Client,
  form: Form,
  around: Out,
): Promise<number> {
  const tools = await around.files();
  let missing = false;
  let sent = 0;
  async function* body(): AsyncGenerator<Uint8Array> {
    const lost = (path: string, why: string): void => {
      missing = true;
      around.err(`mailreportctl: ${clean(path)}: ${clean(why)}\n`);
    };
    for await (const path of filesOf(paths, lost)) {
      for await (const piece of tools.split(path === "-" ? around.stdin : fileSource(path), path)) {
        sent++;
        yield frame({ file: path, member: piece.member, form: piece.form }, piece.raw);
      }
    }
  }
  let seen = 0;
  const end = await client.stream("/v1/import", body(), (item) => {
    seen++;
    if (form === "json") around.out(`${JSON.stringify(item)}\n`);
    else if (form === "table") around.err(`\r${seen} of ${sent} read`);
    if (form !== "json" && !["imported", "imported-with-warnings", "duplicate"].includes(str(item.outcome))) {
      around.err(
        `${form === "table" ? "\r" : ""}${clean(str(item.file))}${item.member ? `#${clean(str(item.member))}` : ""}: ${clean(str(item.outcome))}${item.reason ? `: ${clean(str(item.reason))}` : ""}\n`,
      );
    }
  });
  const { count, next: _next, ...outcomes } = end as Record<string, unknown>;
  if (form === "table") around.err("\r");
  if (form === "json") around.out(`${JSON.stringify({ end: { count, ...outcomes } })}\n`);
  else
    around.out(
      `${
        Object.entries(outcomes)
          .map(([name, n]) => `${name} ${str(n)}`)
          .join(", ") || "nothing to import"
      }\n`,
    );
  if (Number(outcomes.invalid ?? 0) > 0) return EXIT.DATAERR;
  return missing ? EXIT.NOINPUT : EXIT.OK;
}

export async function runCheck(paths: readonly string[], form: Form, around: Out): Promise<number> {
  const tools = await around.files();
  let exit: number = EXIT.OK;
  for (const path of paths) {
    let raw: Uint8Array;
    try {
      raw = path === "-" ? await all(around.stdin) : await readFile(path);
    } catch (error) {
      around.err(`mailreportctl: ${clean(path)}: ${clean((error as Error).message)}\n`);
      if (exit === EXIT.OK) exit = EXIT.NOINPUT;
      continue;
    }
    const result = tools.check(raw, path);
    if (result.outcome === "invalid") exit = EXIT.DATAERR;
    if (form === "json") around.out(`${JSON.stringify(result)}\n`);
    else around.out(human(result));
  }
  return exit;
}

function human({ file, outcome, reason, reports }: WireFile): string {
  const lines = [`${clean(file)}: ${outcome}${reason === null ? "" : ` (${reason})`}`];
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

async function all(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(chunk);
  return Buffer.concat(chunks);
}
