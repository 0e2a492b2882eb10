/** A parser thread of the ingest process: turns bytes into staged parse results and knows no archive. */
import { parentPort } from "node:worker_threads";
import { stageMail, stageSmall } from "../../format/mail/stage.ts";
import type { StagedMail } from "../../model/staged.ts";
import type { Unparsable } from "../../store/archive/intake.ts";
import type { ParseAnswer, ParseTask } from "./parser-protocol.ts";
import { unparsableOf } from "./unparsable.ts";

/** Bytes outside of the heap that are worth a collection: they would wait long for one. */
const LITTLE = 8 << 20;

const monotonic = (): number => performance.now();

function parse({ limits, mails, small }: ParseTask): ParseAnswer {
  const stage = small ? stageSmall : stageMail;
  return mails.map(({ raw, hints }): StagedMail | Unparsable | null => {
    try {
      return stage(raw, hints, limits, monotonic) ?? null;
    } catch (error) {
      return unparsableOf(error);
    }
  });
}

/** The buffers of packed records, which are handed over and not copied. */
function buffersOf(answer: ParseAnswer): ArrayBuffer[] {
  return answer.flatMap((mail) =>
    mail && "items" in mail
      ? mail.items.flatMap((item) =>
          item.ok && item.content.kind === "dmarc" ? [item.content.records.body.buffer] : [],
        )
      : [],
  );
}

parentPort?.on("message", (task: ParseTask) => {
  const answer = parse(task);
  parentPort?.postMessage(answer, buffersOf(answer));
  if (!task.small)
    setImmediate(() => {
      if (process.memoryUsage().external > LITTLE) globalThis.gc?.();
    });
});
parentPort?.postMessage("ready");
