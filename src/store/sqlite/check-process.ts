/** A process that checks the integrity of one database over a read-only connection, prints the damage as JSON, and ends. */
import { setPriority } from "node:os";
import { errorText, MailreportError } from "../../lib/errors.ts";
import { openDatabase } from "./open.ts";

/** Nobody waits for a check: mail comes first. */
const PRIORITY = 10;

function problemsOf(path: string): string[] {
  try {
    const database = openDatabase(path, { readonly: true });
    try {
      const rows = database.pragma("quick_check(100)") as { quick_check: string }[];
      const missing = database.pragma("foreign_key_check") as unknown[];
      return [
        ...rows.map((row) => row.quick_check).filter((text) => text !== "ok"),
        ...(missing.length > 0 ? [`${missing.length} rows refer to missing ones`] : []),
      ];
    } finally {
      database.close();
    }
  } catch (error) {
    return [findingOf(error)]; // what cannot be opened is the finding
  }
}

/** Who shows the finding says that the database is damaged. */
function findingOf(error: unknown): string {
  const isDamage = error instanceof MailreportError && error.code === "store.corrupt";
  return (isDamage ? error.detail : undefined) ?? errorText(error);
}

/** A lower priority, where a system call filter allows it. */
function stepBack(): void {
  try {
    setPriority(PRIORITY);
  } catch {
    return; // the check is done all the same
  }
}

stepBack();
process.stdout.write(JSON.stringify(problemsOf(process.argv[2] ?? "")));
