/** Commands about the periodic jobs. */
import { EXIT } from "../../lib/exit.ts";
import { clean } from "../../lib/text.ts";
import { took } from "../../model/lists/jobs.ts";
import { type Call, type Handler, reasonOf } from "../call.ts";
import { exitOf } from "../client.ts";
import { type Item, str } from "../render.ts";

interface RunAnswer {
  readonly run: {
    readonly result: string;
    readonly took_ms: number;
    readonly error: { readonly code: string; readonly message: string } | null;
  } | null;
  readonly detail: Item | null;
  readonly temporary: boolean;
}

/** The job whose finding is damage; as with `db check`, that is data that is wrong and no failure of a store. */
const CHECK = "database-check";

/** The exit code of a run that failed: 75 when it may succeed later, otherwise that of its error. */
function exitOfRun(name: string, code: string, temporary: boolean): number {
  if (temporary) return EXIT.TEMPFAIL;
  return name === CHECK && code === "store.corrupt" ? EXIT.DATAERR : exitOf(code);
}

/** Runs a job and waits for its end. Exit code of a run that was stopped: 75; of one that failed: see `exitOfRun`. */
async function runJob(call: Call): Promise<number> {
  const { parsed, client, form, around } = call;
  const { operands, options } = parsed;
  const name = operands[0]!;
  const answer = await client.json<RunAnswer>("POST", `/v1/jobs/${encodeURIComponent(name)}/run`, {
    dry_run: options["dry-run"] === true,
    ...reasonOf(call),
  });
  const { run, detail, temporary } = answer;
  if (form === "json") around.out(`${JSON.stringify(answer)}\n`);
  else {
    const outcome = run === null ? "a run would do this" : `${run.result}, took ${took(run.took_ms)}`;
    if (!run?.error) around.out(`${clean(name)}: ${clean(outcome)}\n`);
    for (const [key, value] of Object.entries(detail ?? {}))
      around.out(`  ${clean(key).replaceAll("_", " ")}: ${clean(str(value))}\n`);
  }
  if (run === null || run.result === "ok") return EXIT.OK;
  if (run.error === null) return EXIT.TEMPFAIL;
  const { code, message } = run.error;
  around.err(`mailreportctl: ${clean(name)} failed: ${clean(message)} (${clean(code)})\n`);
  return exitOfRun(name, code, temporary);
}

export const JOB_HANDLERS: Readonly<Record<string, Handler>> = {
  jobsRun: runJob,
};
