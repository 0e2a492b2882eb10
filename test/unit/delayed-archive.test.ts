/** The delaying wrapper of the archive, as the delayed daemon uses it. */
import { expect, it } from "vitest";
import type { ArchiveQuestions, ArchiveReader, Asker } from "../../src/store/archive/reader.ts";
import { delayedQuestions } from "../support/delayed-archive.js";

/** Answers `stats` with the order of its questions and the asker's deadline. */
function questions(): ArchiveQuestions {
  let asked = 0;
  const reader = ({ deadlineMs = 0 }: Asker): Pick<ArchiveReader, "stats"> => ({
    stats: async () => ({ order: ++asked, deadlineMs }),
  });
  return {
    ...reader({}),
    for: reader,
    counters: () => ({ "archive.questions": asked }),
  } as unknown as ArchiveQuestions;
}

it("made promises of `for` and `counters`, so that the delayed daemon answered no list: they are what they were", async () => {
  const delayed = delayedQuestions(questions(), 1);
  expect(delayed.counters()).toEqual({ "archive.questions": 0 });
  expect(await delayed.for({ deadlineMs: 7 }).stats()).toEqual({ order: 1, deadlineMs: 7 });
  expect(await delayed.stats()).toEqual({ order: 2, deadlineMs: 0 });
  expect(delayed.counters()).toEqual({ "archive.questions": 2 });
});

it("delayed the questions of all askers equally: those of one asker start in another order than they were asked", async () => {
  const reader = delayedQuestions(questions(), 1).for({});
  const answers = await Promise.all(Array.from({ length: 20 }, () => reader.stats()));
  const order = answers.map((answer) => answer.order);
  expect(order).not.toEqual([...order].sort((a, b) => a! - b!));
});
