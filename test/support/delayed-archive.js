/**
 * Wraps an object whose methods give promises: an operation starts some turns of the event loop after it was asked for,
 * and its answer comes some turns after its end, so that operations start and answers come in another order. The numbers
 * of turns follow from the seed. Plain JavaScript: child programs of tests use it too.
 */

/** Turns of the event loop that a start or an answer waits at the longest. */
const MOST_TURNS = 12;

/** Numbers 0 <= n < below, the same ones in every run with the same seed. @param {number} seed */
function random(seed) {
  let x = seed >>> 0;
  return (below) => {
    x = (Math.imul(x, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((x / 2 ** 32) * below);
  };
}

/** @param {number} turns */
async function wait(turns) {
  for (let n = 0; n < turns; n++) await new Promise((resolve) => setImmediate(resolve));
}

/**
 * @template {object} T
 * @param {T} real an object of asynchronous methods
 * @param {(below: number) => number} pick
 * @returns {T}
 */
function delayedBy(real, pick) {
  const methods = Object.entries(real).map(([name, method]) => [
    name,
    async (...given) => {
      await wait(pick(MOST_TURNS));
      try {
        return await method.apply(real, given);
      } finally {
        await wait(pick(MOST_TURNS));
      }
    },
  ]);
  return Object.fromEntries(methods);
}

/**
 * @template {object} T
 * @param {T} real an object of asynchronous methods
 * @param {number} seed
 * @returns {T}
 */
export const delayed = (real, seed) => delayedBy(real, random(seed));

/**
 * The archive as the daemon asks it: questions of all askers are delayed, its counters are not.
 * @param {import("../../src/store/archive/reader.ts").ArchiveQuestions} real
 * @param {number} seed
 * @returns {import("../../src/store/archive/reader.ts").ArchiveQuestions}
 */
export function delayedQuestions(real, seed) {
  const pick = random(seed);
  return {
    ...delayedBy(real, pick),
    for: (asker) => delayedBy(real.for(asker), pick),
    counters: () => real.counters(),
  };
}
