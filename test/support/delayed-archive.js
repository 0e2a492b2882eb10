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
 * @param {number} seed
 * @returns {T}
 */
export function delayed(real, seed) {
  const pick = random(seed);
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
