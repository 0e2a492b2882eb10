/** `export`: lists with all their fields, line by line, and raw mails. Nothing is held in memory as a whole. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeDirectory } from "../../lib/directory.ts";
import { EXIT } from "../../lib/exit.ts";
import { clean } from "../../lib/text.ts";
import type { List } from "../../model/lists/list.ts";
import { EXPORTS } from "../../model/lists/lists.ts";
import { RECEIVED } from "../../model/lists/received.ts";
import { type Call, each, listQuery, plural, withQuery } from "../call.ts";
import { ClientError } from "../client.ts";
import { exportColumns } from "../columns.ts";
import { fileErrorText } from "../files.ts";
import { knownValue, UsageError, usage } from "../grammar.ts";
import { listOptions } from "../options.ts";
import { csvLine, type Item, str, titleLine, tsvLine } from "../render.ts";

/** The names of exports: each list by its name, and by its alias. */
const NAMES: ReadonlyMap<string, List> = new Map(
  EXPORTS.flatMap((list) => [list.alias ?? list.name, list.name].map((name) => [name, list] as const)),
);

/** Carries out `export`. */
export async function runExport(call: Call): Promise<number> {
  const [what = "", ...ids] = call.parsed.operands;
  if (what === "raw") return exportRaw(call, ids);
  const list = NAMES.get(what);
  if (!list || ids.length > 0) {
    throw new UsageError(
      ids.length > 0 ? `usage: mailreportctl ${usage(call.parsed.command)}` : `nothing to export: ${what}`,
      "possibilities are:",
      ...[...NAMES.keys(), "raw"].map((name) => `export ${name}`),
    );
  }
  return exportList(call, list);
}

/** The query of a list, of those options of `export` that it has. Throws UsageError for another one. */
function queryOf(call: Call, list: List): URLSearchParams {
  const filters = (call.parsed.command.options ?? []).filter(({ filter }) => filter !== undefined);
  const given = filters.filter(({ name }) => call.parsed.options[name] !== undefined);
  // an option of export itself may have the name of an alias, such as format
  const own = listOptions(list).filter(
    ({ name }) => name === "limit" || filters.some((option) => option.name === name),
  );
  const strange = given.find(({ name }) => !own.some((option) => option.name === name));
  if (strange)
    throw new UsageError(
      `--${strange.name} has no meaning for: export ${list.name}`,
      "possibilities are:",
      ...own.map(({ name, value }) => `--${name}${value === undefined ? "" : ` ${value}`}`),
    );
  // the command knows the words of all lists
  for (const option of own) {
    const value = call.parsed.options[option.name];
    if (typeof value === "string") knownValue(option, value);
  }
  return listQuery(call, list, {}, own);
}

async function exportList(call: Call, list: List): Promise<number> {
  const { client, around } = call;
  const form = formatOf(call);
  const columns = exportColumns(list);
  if (form !== "ndjson")
    around.out(
      titleLine(
        columns.map(({ title }) => title),
        form,
      ),
    );
  const line = {
    ndjson: (item: Item) => `${JSON.stringify(item)}\n`,
    csv: (item: Item) => csvLine(columns, item),
    tsv: (item: Item) => tsvLine(columns, item),
  }[form];
  const path = withQuery(`/v1/${list.name}`, queryOf(call, list));
  const end = await client.list(path, (item) => around.out(line(item)));
  if (end.next !== null) around.err(`more: --after ${end.next}\n`);
  return EXIT.OK;
}

function formatOf({ parsed, form }: Call): "ndjson" | "csv" | "tsv" {
  const said = str(parsed.options.format); // the command table knows the formats
  if (said === "ndjson" || said === "csv" || said === "tsv") return said;
  return form === "csv" || form === "tsv" ? form : "ndjson";
}

/** Mails byte for byte: one on stdout, or any number as files m42.eml. */
async function exportRaw(call: Call, ids: readonly string[]): Promise<number> {
  const { client, around, parsed } = call;
  const folder = str(parsed.options.output);
  const bad = ids.filter((id) => !/^[mr]\d+$/.test(id));
  if (bad.length > 0) throw new UsageError(`not a mail or report id: ${bad.join(" ")} (m42, r42)`);
  if (folder === "" && ids.length !== 1)
    throw new UsageError("several mails need a directory: --output DIR, or name one id");
  if (folder === "") {
    around.outBytes(await client.bytes(`/v1/received/${await mailOf(call, ids[0]!)}/raw`));
    return EXIT.OK;
  }
  writing(folder, () => makeDirectory(folder));
  let written = 0;
  let gone = 0;
  const write = async (id: string): Promise<void> => {
    const bytes = await client.bytes(`/v1/received/${id}/raw`);
    const path = join(folder, `${id}.eml`);
    writing(path, () => writeFileSync(path, bytes, { mode: 0o640 }));
    written++;
  };
  const exit = await each(ids, around, async (id) => write(await mailOf(call, id)));
  if (ids.length === 0) {
    await client.list(withQuery("/v1/received", queryOf(call, RECEIVED)), async (item: Item) => {
      if (item.raw_kept === true) await write(str(item.id));
      else gone++;
    });
  }
  around.err(
    `${plural(written, "mail")} written to ${clean(folder)}${gone > 0 ? `, ${plural(gone, "mail")} without raw bytes` : ""}\n`,
  );
  return written > 0 ? exit : EXIT.NOTHING;
}

/** Runs what writes to a path. Errors: ClientError with exit code 73. */
function writing(path: string, write: () => void): void {
  try {
    write();
  } catch (error) {
    throw new ClientError(`${path}: ${fileErrorText(error)}`, EXIT.CANTCREAT);
  }
}

/** The mail that a report came in. */
async function mailOf({ client }: Call, id: string): Promise<string> {
  return id.startsWith("m") ? id : str((await client.json("GET", `/v1/reports/${id}`)).mail_id);
}
