/** Who asks a question by a control request. */
import type { FastifyReply } from "fastify";
import type { Asker } from "../store/archive/reader.ts";

/**
 * The client of a request: its signal is aborted when the client closes its connection before it has the whole answer,
 * also when the handler writes that answer itself.
 */
export function askerOf({ raw }: FastifyReply): Asker {
  const gone = new AbortController();
  const onClose = (): void => {
    if (!raw.writableFinished) gone.abort();
  };
  if (raw.destroyed) onClose();
  else raw.once("close", onClose);
  return { signal: gone.signal };
}
