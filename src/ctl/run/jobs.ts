/** Commands about the periodic jobs. */
import { EXIT } from "../../lib/exit.ts";
import { clean } from "../../lib/text.ts";
import { took } from "../../model/lists/jobs.ts";
import { type Call, type Handler, reasonOf } from "../call.ts";
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

/** Runs a job and waits for its end. Exit code: 75 when it failed and may succeed later, 1 when it failed otherwise. */
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
  if (run.error !== null) {
    const { code, message } = run.error;
    around.err(`mailreportctl: ${clean(name)} failed: ${clean(message)} (${clean(code)})\n`);
  }
  return temporary || run.result === "stopped" ? EXIT.TEMPFAIL : EXIT.NOTHING;
}

export const JOB_HANDLERS: Readonly<Record<string, Handler>> = {
  jobsRun: runJob,
};
