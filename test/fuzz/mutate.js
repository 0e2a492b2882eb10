/**
 * Reads every file of the corpus with bytes flipped, cut out, doubled and spliced, and all hostile inputs. Fails when a
 * reading throws, lasts over a second, or takes more than 150 MB above what an idle process has, or when what stays in
 * memory after a collection grows from quarter to quarter.
 *
 * node --expose-gc test/fuzz/mutate.js [cases] [seed]        (after `npm run build`)
 */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { configSchema } from "../../dist/config/schema.js";
import { stageMail } from "../../dist/format/mail/stage.js";
import { mailOutcome } from "../../dist/model/mail-outcome.js";
import { OUTCOMES } from "../../dist/model/outcome.js";
import { hostileInputs } from "../support/hostile.js";

const CASES = Number(process.argv[2] ?? 2000);
const SEED = Number(process.argv[3] ?? 1);
const LONGEST_MS = 1000;
const MOST_MEMORY = 150 << 20;
/** Caches are full after the first quarter; what comes on top by the last one would be a leak. */
const MOST_LEFT = 8 << 20;
/** Larger files are read in other tests; mutating them a thousand times is waiting. */
const LARGEST_MUTATED = 65_536;
const DATA = new URL("../corpus/data/", import.meta.url).pathname;

const { limits } = configSchema.parse({});

/** A small generator of numbers (mulberry32): the same seed, the same cases. */
function randomOf(seed) {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

const MUTATIONS = [
  function flip(raw, random) {
    const copy = Buffer.from(raw);
    for (let n = 1 + random(8); n > 0; n--) copy[random(copy.length)] = random(256);
    return copy;
  },
  function cut(raw, random) {
    return raw.subarray(0, random(raw.length));
  },
  function behead(raw, random) {
    return raw.subarray(random(raw.length));
  },
  function remove(raw, random) {
    const at = random(raw.length);
    return Buffer.concat([raw.subarray(0, at), raw.subarray(at + random(64))]);
  },
  function double(raw, random) {
    const at = random(raw.length);
    const to = at + random(512);
    return Buffer.concat([raw.subarray(0, to), raw.subarray(at)]);
  },
  function splice(raw, random, other) {
    return Buffer.concat([raw.subarray(0, random(raw.length)), other.subarray(random(other.length))]);
  },
  function insert(raw, random) {
    const token = TOKENS[random(TOKENS.length)];
    const at = random(raw.length);
    return Buffer.concat([raw.subarray(0, at), Buffer.from(token, "latin1"), raw.subarray(at)]);
  },
];

const TOKENS = [
  "<",
  ">",
  "&",
  "</",
  "<!--",
  "<![CDATA[",
  "]]>",
  "<!DOCTYPE",
  "<?",
  "\0",
  "\r",
  "\n",
  "\n\n",
  "\r\n\r\n",
  "--",
  "=",
  "=?utf-8?q?",
  '"',
  "\\",
  "{",
  "}",
  "[",
  "]",
  ",",
  ":",
  ";",
  "1e999",
  "-1",
  "PK\x03\x04",
  "PK\x01\x02",
  "PK\x05\x06",
  "\x1f\x8b\x08",
  "\xff\xfe",
  "Content-Type: multipart/mixed; boundary=",
  "Content-Transfer-Encoding: base64\n",
  "Content-Type: message/rfc822\n\n",
  "<record>",
  "</record>",
  "</feedback>",
  "<count>",
  "__proto__",
  "\u0000\u0000",
];

function readOnce(raw, form, fileName) {
  const from = performance.now();
  const cpu = process.cpuUsage();
  const staged = stageMail(raw, { form, fileName, receivedAt: 1795132800 }, limits, () => performance.now());
  const items = staged.items.map((item) => (item.ok ? { ...item, kept: "new" } : item));
  const verdict = mailOutcome({ ...staged, items });
  if (!OUTCOMES.includes(verdict.outcome)) throw new Error(`an outcome that is none: ${verdict.outcome}`);
  // the processor's time: on a machine with other work the wall clock tells of that
  const { user, system } = process.cpuUsage(cpu);
  return { ms: Math.min(performance.now() - from, (user + system) / 1000), ...verdict };
}

function* filesBelow(folder) {
  for (const name of readdirSync(folder).sort()) {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) yield* filesBelow(path);
    else if (name !== "MANIFEST.tsv") yield { name, raw: readFileSync(path) };
  }
}

const failures = [];
let slowest = { ms: 0, what: "" };

function attempt(what, raw, form, fileName) {
  try {
    const result = readOnce(raw, form, fileName);
    if (result.ms > slowest.ms) slowest = { ms: result.ms, what };
    if (result.ms > LONGEST_MS) failures.push(`${what}: ${Math.round(result.ms)} ms`);
    return result;
  } catch (error) {
    failures.push(`${what}: ${error?.stack ?? error}`);
    return undefined;
  }
}

const files = [...filesBelow(DATA)].filter(({ raw }) => raw.length > 0 && raw.length <= LARGEST_MUTATED);
for (const { name, raw } of files) attempt(name, raw, "file", name);
const memoryAtRest = process.memoryUsage.rss();

/** Bytes in use after a collection; what is freed in the background is waited for. */
async function used() {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 4; i++) {
    globalThis.gc?.();
    await new Promise((resolve) => setImmediate(resolve));
    const { heapUsed, external } = process.memoryUsage();
    least = Math.min(least, heapUsed + external);
  }
  return least;
}

/** What is in a gzip file, mutated; a mutation of the container hides what is in it. */
function inside(raw, mutate) {
  try {
    return gzipSync(mutate(gunzipSync(raw)), { level: 1 });
  } catch {
    return mutate(raw); // it was damaged already
  }
}

const random = randomOf(SEED);
const outcomes = {};
const quarters = [];
let memory = memoryAtRest;
for (let i = 0; i < CASES; i++) {
  const { name, raw } = files[random(files.length)];
  const other = files[random(files.length)].raw;
  let mutated = raw;
  let how = "";
  for (let n = 1 + random(3); n > 0 && mutated.length > 0; n--) {
    const mutation = MUTATIONS[random(MUTATIONS.length)];
    const within = mutated[0] === 0x1f && mutated[1] === 0x8b && random(4) > 0;
    const mutate = (bytes) => (bytes.length > 0 ? mutation(bytes, random, other) : bytes);
    mutated = within ? inside(mutated, mutate) : mutate(mutated);
    how += ` ${within ? "inside " : ""}${mutation.name}`;
  }
  const form = name.endsWith(".eml") || random(4) === 0 ? "mail" : "file";
  const result = attempt(`case ${i} of seed ${SEED}: ${name}${how}`, mutated, form, name);
  if (result) outcomes[result.outcome] = (outcomes[result.outcome] ?? 0) + 1;
  // as in the ingest process, whose loop turns between mails: handles of zlib are closed then
  if (i % 64 === 0) await new Promise((resolve) => setImmediate(resolve));
  if ((i + 1) % Math.ceil(CASES / 4) === 0) quarters.push(await used());
  if (i % 500 === 0) memory = Math.max(memory, process.memoryUsage.rss());
}
console.log(`${CASES} mutations, seed ${SEED}: ${JSON.stringify(outcomes)}`);

for (const { name, form, fileName, reasons, make } of hostileInputs()) {
  const raw = make();
  globalThis.gc?.();
  const before = process.memoryUsage.rss();
  const result = attempt(name, raw, form, fileName);
  const grown = process.memoryUsage.rss() - before;
  if (result && !reasons.includes(result.reason)) failures.push(`${name}: refused with ${result.reason}`);
  if (grown > MOST_MEMORY) failures.push(`${name}: ${grown >> 20} MB more`);
  console.log(
    `${name}: ${result?.reason} in ${Math.round(result?.ms ?? 0)} ms, ${Math.max(0, grown >> 20)} MB more`,
  );
}

console.log(
  `slowest ${Math.round(slowest.ms)} ms (${slowest.what}); mutations took ${Math.round((memory - memoryAtRest) / 1048576)} MB over ${memoryAtRest >> 20} MB at rest`,
);
console.log(
  `in use after each quarter: ${quarters.map((bytes) => (bytes / 1048576).toFixed(1)).join(", ")} MB`,
);
if (memory - memoryAtRest > MOST_MEMORY) failures.push("it takes too much memory");
if (quarters.at(-1) - quarters[0] > MOST_LEFT) failures.push("what stays in memory grows");
for (const failure of failures) console.error(`FAILED ${failure}`);
process.exitCode = failures.length > 0 ? 1 : 0;
