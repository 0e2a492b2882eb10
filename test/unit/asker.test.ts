/** Who asks by a control request, and when nobody waits for the answer any more. */
import { EventEmitter } from "node:events";
import type { FastifyReply } from "fastify";
import { expect, it } from "vitest";
import { askerOf } from "../../src/control/asker.ts";

const replyOf = (raw: { readonly destroyed: boolean; readonly writableFinished: boolean }) => {
  const emitter = Object.assign(new EventEmitter(), raw);
  return { emitter, reply: { raw: emitter } as unknown as FastifyReply };
};

it("a client that was gone before it was looked at was never noticed", () => {
  const { reply } = replyOf({ destroyed: true, writableFinished: false });
  expect(askerOf(reply).signal?.aborted).toBe(true);
});

it("a client is gone when its connection closes before the end of the answer", () => {
  const { emitter, reply } = replyOf({ destroyed: false, writableFinished: false });
  const { signal } = askerOf(reply);
  expect(signal?.aborted).toBe(false);
  emitter.emit("close");
  expect(signal?.aborted).toBe(true);
});

it("a client that has all of its answer is not gone", () => {
  const { emitter, reply } = replyOf({ destroyed: false, writableFinished: true });
  const { signal } = askerOf(reply);
  emitter.emit("close");
  expect(signal?.aborted).toBe(false);
});
