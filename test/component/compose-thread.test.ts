/** The thread that composes reports, as built, over a real queue.db. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { generateSigningKey, loadSigningKey } from "../../src/format/mail/dkim-sign.ts";
import { outgoingId } from "../../src/model/outgoing.ts";
import type { ComposeJob } from "../../src/report/compose/job.ts";
import { ComposeThread } from "../../src/report/compose/thread.ts";
import type { QueueStore } from "../../src/store/queue.ts";
import { openQueueStore } from "../../src/store/sqlite/queue/store.ts";
import { ROOT } from "../support/build.ts";
import { COMPOSE_PROGRAM, inlineComposer } from "../support/composer.ts";
import { counted, DAY, evaluation, HASH, POLICY, sessions } from "../support/events.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { identity } from "../support/outgoing.ts";

const NOW = DAY + 90_000;
const PROBE = pathToFileURL(join(ROOT, "test/support/compose-probe.js"));
const KEYS = [
  loadSigningKey(generateSigningKey("rsa"), "example.org", "r"),
  loadSigningKey(generateSigningKey("ed25519"), "example.org", "e"),
];

let dir: string;
let path: string;
let store: QueueStore;
let clock: FakeClock;
const threads: ComposeThread[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "compose-thread-"));
  path = join(dir, "queue.db");
  store = openQueueStore(path);
  clock = new FakeClock(NOW * 1000);
});

afterEach(async () => {
  for (const thread of threads.splice(0)) await thread.stop();
  store.close();
  rmSync(dir, { recursive: true, force: true });
});

function threadOf(program = COMPOSE_PROGRAM): ComposeThread {
  const thread = new ComposeThread({ path, clock, program });
  threads.push(thread);
  return thread;
}

/** Counts some rows about a domain and makes the job of composing them. */
function jobFor(domain: string, rows = 3): ComposeJob {
  const events = Array.from({ length: rows }, (_, i) =>
    counted(
      evaluation({
        policy: { ...POLICY, domain },
        row: { headerFrom: domain, sourceIp: `192.0.${i >> 8}.${i & 255}` },
      }),
      { policyDomain: domain },
    ),
  );
  store.count("f", events, NOW);
  return {
    outgoingId: outgoingId("dmarc", domain, HASH, DAY),
    kind: "dmarc",
    identity,
    policyDomain: domain,
    begin: DAY,
    end: DAY + 86_399,
    policy: { kind: "dmarc", policy: { ...POLICY, domain }, rua: [] },
    note: null,
    profile: "both",
    maxMessageSize: 10 << 20,
    secret: Buffer.alloc(32, 1),
    recipients: [
      { to: "a@example.com", form: "mail" },
      { to: "noreply@example.org", form: "document" },
      { to: "noreply@example.org", form: "document" },
    ],
    time: NOW,
    keys: KEYS,
  };
}

const bytes = (raw: Uint8Array | undefined) => Buffer.from(raw ?? []).toString("latin1");

describe("composing held the main loop", () => {
  it("it goes on while the main thread does nothing but wait", async () => {
    const composing = threadOf(PROBE).compose(jobFor("one.example"));
    const answered = join(dir, "answered");
    const patience = new Int32Array(new SharedArrayBuffer(4));
    // no event of this thread's loop runs in here
    for (let i = 0; i < 6000 && !existsSync(answered); i++) Atomics.wait(patience, 0, 0, 10);
    expect(Number(readFileSync(answered, "utf8"))).toBeGreaterThan(0);
    expect((await composing).mails).toHaveLength(3);
  });

  it("the thread gives the very bytes and ids that this thread would", async () => {
    const inline = inlineComposer(path);
    const thread = threadOf();
    const tls = { ...jobFor("two.example"), kind: "tls", policy: { kind: "tls", record: null } } as const;
    store.count("f", [counted(sessions())], NOW);
    const jobs = [
      jobFor("one.example", 300),
      { ...tls, outgoingId: outgoingId("tls", "example.com", HASH, DAY), policyDomain: "example.com" },
    ];
    for (const job of jobs) {
      // Ed25519 signatures and those of RSA (PKCS #1 v1.5) are deterministic
      const [here, there] = [await inline.compose(job), await thread.compose(job)];
      expect(there.seen).toEqual(here.seen);
      expect(there.mails.map((mail) => ({ ...mail, raw: bytes(mail.raw) }))).toEqual(
        here.mails.map((mail) => ({ ...mail, raw: bytes(mail.raw) })),
      );
    }
    await inline.stop();
  });

  it("an error keeps its code and the stack of the thread", async () => {
    const job = { ...jobFor("one.example"), outgoingId: "d!nobody.example!0000000000000000!0" };
    await expect(threadOf().compose(job)).rejects.toMatchObject({ code: "outgoing.no_such_report" });
    const broken = { ...jobFor("two.example"), secret: null as unknown as Uint8Array };
    const error = await threadOf()
      .compose(broken)
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "daemon.bug" });
    expect((error as { cause: Error }).cause.stack).toContain("dist/report/");
  });
});

describe("a thread that dies", () => {
  it.each(["exits.example", "throws.example"])(
    "%s: its job fails, those behind it are composed",
    async (domain) => {
      const thread = threadOf(PROBE);
      const [bad, good, last] = [jobFor(domain), jobFor("one.example"), jobFor("two.example")];
      const results = await Promise.allSettled([bad, good, last].map((job) => thread.compose(job)));
      expect(results.map(({ status }) => status)).toEqual(["rejected", "fulfilled", "fulfilled"]);
      expect((results[0] as PromiseRejectedResult).reason).toMatchObject({ code: "compose.died" });
    },
  );

  it("one that hangs is ended after a quarter of an hour, and the next job gets a new one", async () => {
    const thread = threadOf(PROBE);
    const bad = expect(thread.compose(jobFor("hangs.example"))).rejects.toMatchObject({
      code: "compose.died",
    });
    const good = thread.compose(jobFor("one.example"));
    await clock.advance(15 * 60_000);
    await bad;
    expect((await good).mails).toHaveLength(3);
  });

  it("an answer that came at the time limit gave its neighbours the wrong reports", async () => {
    const thread = threadOf(PROBE);
    const domains = ["one.example", "two.example", "three.example"];
    const results = Promise.allSettled(domains.map((domain) => thread.compose(jobFor(domain))));
    const answered = join(dir, "answered");
    const patience = new Int32Array(new SharedArrayBuffer(4));
    // the answer waits for this thread while the limit comes
    for (let i = 0; i < 6000 && !existsSync(answered); i++) Atomics.wait(patience, 0, 0, 10);
    await clock.advance(15 * 60_000);
    const [first, ...others] = await results;
    expect(first).toMatchObject({ status: "rejected", reason: { code: "compose.died" } });
    const files = others.map((each) => (each.status === "fulfilled" ? each.value.mails[0]!.fileName : each));
    expect(files).toEqual(
      ["two", "three"].map((name) => expect.stringContaining(`!${name}.example!`) as string),
    );
  });

  it("an answer to another request or about another report is no answer to this one", async () => {
    const program = join(dir, "wrong.mjs");
    writeFileSync(
      program,
      `import { parentPort } from "node:worker_threads";
      parentPort.on("message", ({ no, job }) => {
        const composed = { outgoingId: job.outgoingId, seen: { rows: 1, messages: 1 }, mails: [] };
        parentPort.postMessage({ no: no - 1, ok: true, composed: { ...composed, mails: ["wrong"] } });
        const wrong = job.policyDomain === "two.example" && { outgoingId: "another" };
        parentPort.postMessage({ no, ok: true, composed: { ...composed, ...wrong } });
      });`,
    );
    const thread = threadOf(pathToFileURL(program));
    const [one, two] = ["one.example", "two.example"].map((domain) => thread.compose(jobFor(domain)));
    expect((await one!).mails).toEqual([]);
    await expect(two).rejects.toMatchObject({ code: "daemon.bug" });
  });

  it("a job that cannot be sent to it fails alone", async () => {
    const thread = threadOf();
    const job = { ...jobFor("one.example"), note: (() => "") as unknown as string };
    await expect(thread.compose(job)).rejects.toMatchObject({ code: "compose.died" });
    expect((await thread.compose(jobFor("two.example"))).mails).toHaveLength(3);
  });
});

describe("a thread without work", () => {
  it("is ended after half a minute and started again with the next job", async () => {
    const thread = threadOf();
    expect(thread.running).toBe(false);
    await thread.compose(jobFor("one.example"));
    expect(thread.running).toBe(true);
    await clock.advance(30_000);
    expect(thread.running).toBe(false);
    expect((await thread.compose(jobFor("two.example"))).mails).toHaveLength(3);
  });

  it("copies the log into the database", async () => {
    store.count("f", [counted(evaluation())], NOW);
    await expect(threadOf().checkpoint()).resolves.toBeUndefined();
  });
});

it("stopping fails what runs and what waits, and nothing begins any more", async () => {
  const thread = threadOf(PROBE);
  const jobs = [jobFor("hangs.example"), jobFor("one.example")].map((job) => thread.compose(job));
  const ended = Promise.allSettled(jobs);
  await thread.stop();
  for (const result of await ended) expect(result).toMatchObject({ reason: { code: "daemon.stopping" } });
  await expect(thread.compose(jobFor("two.example"))).rejects.toMatchObject({ code: "daemon.stopping" });
});
