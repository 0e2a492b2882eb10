/** `export`: lists with all their fields, as they come, and raw mails. Nothing is held in memory as a whole. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { EXIT } from "../lib/exit.ts";
import { clean } from "../lib/text.ts";
import { type Call, plural, query, withQuery } from "./call.ts";
import { UsageError, usage } from "./grammar.ts";
import { type Column, csvLine, type Item, str, tsvLine } from "./render.ts";

/** What can be exported → its route and the parameters that it always has. */
const LISTS: Readonly<Record<string, { readonly path: string; readonly kind?: string }>> = {
  mails: { path: "/v1/received" },
  received: { path: "/v1/received" },
  reports: { path: "/v1/reports" },
  records: { path: "/v1/records" },
  domains: { path: "/v1/domains" },
  sources: { path: "/v1/sources" },
  reporters: { path: "/v1/reporters" },
  days: { path: "/v1/days" },
  tls: { path: "/v1/reports", kind: "tls" },
  failures: { path: "/v1/reports", kind: "failure" },
  dsn: { path: "/v1/reports", kind: "dsn" },
};

/** Carries out `export`. */
export async function runExport(call: Call): Promise<number> {
  const [what = "", ...ids] = call.parsed.operands;
  if (what === "raw") return exportRaw(call, ids);
  const list = LISTS[what];
  if (!list || ids.length > 0) {
    throw new UsageError(
      ids.length > 0 ? `usage: mailreportctl ${usage(call.parsed.command)}` : `nothing to export: ${what}`,
      "possibilities are:",
      ...[...Object.keys(LISTS), "raw"].map((name) => `export ${name}`),
    );
  }
  return exportList(call, withQuery(list.path, query(call, { kind: list.kind })));
}

async function exportList(call: Call, path: string): Promise<number> {
  const { client, around } = call;
  const form = formatOf(call);
  let columns: readonly Column[] | undefined;
  const end = await client.list(path, (item) => {
    if (form === "ndjson") {
      around.out(`${JSON.stringify(item)}\n`);
      return;
    }
    if (!columns) {
      columns = Object.keys(item).map((title): Column => ({ title, text: (row) => cell(row[title]) }));
      const titles = columns.map((column) => column.title);
      around.out(form === "csv" ? `${titles.join(",")}\r\n` : `${titles.join("\t")}\n`);
    }
    around.out(form === "csv" ? csvLine(columns, item) : tsvLine(columns, item));
  });
  if (end.next !== null) around.err(`more: --after ${end.next}\n`);
  return EXIT.OK;
}

function formatOf({ parsed, form }: Call): "ndjson" | "csv" | "tsv" {
  const said = str(parsed.options.format) || (form === "csv" || form === "tsv" ? form : "ndjson");
  if (said === "ndjson" || said === "csv" || said === "tsv") return said;
  throw new UsageError(`not a format: ${said}`, "possibilities are:", "ndjson", "csv", "tsv");
}

/** Scalars as they are, all else as JSON. */
function cell(value: unknown): string {
  return typeof value === "object" && value !== null ? JSON.stringify(value) : str(value);
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
  mkdirSync(folder, { recursive: true });
  let written = 0;
  let gone = 0;
  const write = async (id: string): Promise<void> => {
    writeFileSync(join(folder, `${id}.eml`), await client.bytes(`/v1/received/${id}/raw`), { mode: 0o640 });
    written++;
  };
  for (const id of ids) await write(await mailOf(call, id));
  if (ids.length === 0) {
    await client.list(withQuery("/v1/received", query(call)), async (item: Item) => {
      if (item.raw_kept === true) await write(str(item.id));
      else gone++;
    });
  }
  around.err(
    `${plural(written, "mail")} written to ${clean(folder)}${gone > 0 ? `, ${plural(gone, "mail")} without raw bytes` : ""}\n`,
  );
  return written > 0 ? EXIT.OK : EXIT.NOTHING;
}

/** The mail that a report came in. */
async function mailOf({ client }: Call, id: string): Promise<string> {
  return id.startsWith("m") ? id : str((await client.json("GET", `/v1/reports/${id}`)).mail_id);
}
