/** mailreportctl against daemons that fail, and files that do: one line on stderr and the right exit code. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type RequestListener, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { socketPath } from "../../src/ctl/client.ts";
import { COMMANDS } from "../../src/ctl/commands.ts";
import { ask, Interrupted } from "../../src/ctl/prompt.ts";
import { run } from "../../src/ctl/run/run.ts";
import { suppressionText } from "../../src/deliver/suppression.ts";
import { ROOT } from "../support/build.ts";
import { MAILREPORTCTL, ndjson, type Ran } from "../support/daemon.ts";
import { dmarcXml, gz, tar } from "../support/reading.ts";

let dir: string;
let server: Server | undefined;
const children: ChildProcess[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "ctl-"));
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  server?.closeAllConnections();
  await new Promise((resolve) => (server ? server.close(resolve) : resolve(undefined)));
  server = undefined;
  rmSync(dir, { recursive: true, force: true });
});

/** A daemon that answers as told. */
async function daemon(listener: RequestListener): Promise<void> {
  server = createServer(listener);
  await new Promise<void>((resolve) => server!.listen(join(dir, "s"), resolve));
}

/** Runs the program; stdin is the input, or a pipe that stays open. */
async function ctl(args: readonly string[], input: string | Buffer | "open" = ""): Promise<Ran> {
  const child = spawn(process.execPath, [MAILREPORTCTL, "-S", join(dir, "s"), ...args], { cwd: dir });
  children.push(child);
  child.stdin.on("error", () => {}); // it may end before its input does
  if (input !== "open") child.stdin.end(input);
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  child.stderr.on("data", (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return { code, stdout, stderr };
}

/** One line that names the program, and no stack. */
const oneLine = (text: RegExp) => expect.stringMatching(new RegExp(`^mailreportctl: ${text.source}\\n$`));

describe("a daemon that fails", () => {
  it("a missing or silent one is 69", async () => {
    expect(await ctl(["show", "status"])).toMatchObject({
      code: 69,
      stderr: oneLine(/mailreportd is not running.*no such file.*/),
    });
    spawnSync(process.execPath, [
      "-e",
      `require("net").createServer().listen(${JSON.stringify(join(dir, "s"))}, () => process.kill(process.pid, "SIGKILL"))`,
    ]);
    expect(await ctl(["show", "status"])).toMatchObject({
      code: 69,
      stderr: oneLine(/mailreportd is not running.*nobody answers.*/),
    });
  });

  it("a reload that changes nothing ended in a colon, and any refusal was 78", async () => {
    const told = { ok: true, applied: [] as string[], needs_restart: [], dry_run: false };
    let answer: object = told;
    let status = 200;
    await daemon((_request, response) => {
      response.writeHead(status, { "content-type": "application/json" });
      response.end(JSON.stringify(answer));
    });
    expect((await ctl(["reload", "-n"])).stdout).toBe("the configuration is ok; nothing would change\n");
    expect((await ctl(["reload"])).stdout).toBe("reloaded; nothing has changed\n");
    answer = { ...told, applied: ["a: 1 -> 2"] };
    expect((await ctl(["reload"])).stdout).toBe("reloaded\n  a: 1 -> 2\n");
    answer = { error: { code: "store.full", message: "no space left for the database" } };
    status = 503;
    expect(await ctl(["reload"])).toMatchObject({ code: 74, stderr: oneLine(/no space left.*/) });
    answer = { error: { code: "config.invalid", message: "x", detail: { problems: ["x"] } } };
    status = 422;
    expect((await ctl(["reload"])).code).toBe(78);
  });

  it("one that died in its answer printed a stack: it is one line and 74", async () => {
    await daemon((_request, response) => {
      response.writeHead(200, { "content-length": 1000 });
      response.write("{", () => response.destroy());
    });
    for (const args of [
      ["show", "status"],
      ["show", "stats"],
      ["show", "mail", "m1", "--raw"],
    ])
      expect(await ctl(args), args.join(" ")).toMatchObject({
        code: 74,
        stdout: "",
        stderr: oneLine(/the answer was cut off before its end/),
      });
  });

  it("one that died before its answer is 74", async () => {
    await daemon((request) => request.socket.destroy());
    expect(await ctl(["show", "status"])).toMatchObject({
      code: 74,
      stderr: oneLine(/the daemon ended the connection/),
    });
  });

  it("a list that is cut off is 74", async () => {
    await daemon((_request, response) => {
      response.writeHead(200, { "content-type": "application/x-ndjson" });
      response.write('{"day":"2026-11-20","messages":1,"pass":1,"fail":0,"unknown":0}\n', () =>
        response.destroy(),
      );
    });
    expect(await ctl(["show", "days"])).toMatchObject({
      code: 74,
      stderr: oneLine(/the list was cut off before its end/),
    });
  });

  it("what is no mailreportd printed a stack: it is one line", async () => {
    await daemon((_request, response) => response.end("<html>\n"));
    expect(await ctl(["show", "status"])).toMatchObject({
      code: 76,
      stderr: oneLine(/the daemon's answer is not JSON/),
    });
    expect(await ctl(["show", "days"])).toMatchObject({
      code: 76,
      stderr: oneLine(/the daemon sent a line that is not JSON/),
    });
  });

  it("one that refuses an import early ends a client whose input goes on", async () => {
    await daemon((request, response) => {
      response.writeHead(200, { "content-type": "application/x-ndjson" });
      request.resume();
      response.write(
        '{"file":"a","outcome":null,"reason":null,"reports":[],"mail":null,"error":{"code":"store.full","message":"no space left for the database"}}\n',
      );
      response.end(
        '{"end":{"count":1,"next":null,"refused":1,"error":{"code":"store.full","message":"no space left for the database"}}}\n',
      );
    });
    const ran = await ctl(["import", "-"], "open");
    expect(ran).toMatchObject({ code: 74, stdout: "refused 1\n" });
    expect(ran.stderr).toBe(
      "a: refused: no space left for the database\n" +
        "mailreportctl: no space left for the database: a and what follows it were not imported\n",
    );
  });

  it("an import that is cut off tells what was imported", async () => {
    await daemon((request, response) => {
      response.writeHead(200, { "content-type": "application/x-ndjson" });
      request.once("end", () =>
        response.write('{"file":"a.xml","outcome":"imported","reason":null,"reports":[],"mail":"m1"}\n', () =>
          response.destroy(),
        ),
      );
      request.resume();
    });
    for (const name of ["a.xml", "b.xml"]) writeFileSync(join(dir, name), dmarcXml());
    expect(await ctl(["import", "a.xml", "b.xml"])).toMatchObject({
      code: 74,
      stderr:
        "mailreportctl: the import is not complete: imported 1; 1 file sent without an answer\n" +
        "mailreportctl: the list was cut off before its end\n",
    });
  });

  it("a refused item is told with its error, and its exit code", async () => {
    await daemon((request, response) => {
      request.resume();
      request.once("end", () =>
        response.end(
          '{"file":"a.xml","outcome":null,"reason":null,"reports":[],"mail":null,"error":{"code":"store.busy","message":"locked"}}\n' +
            '{"end":{"count":1,"next":null,"refused":1}}\n',
        ),
      );
    });
    writeFileSync(join(dir, "a.xml"), dmarcXml());
    expect(await ctl(["import", "a.xml"])).toEqual({
      code: 75,
      stdout: "refused 1\n",
      stderr: "a.xml: refused: locked\n",
    });
  });

  it("a feed that stops half-way tells from which line on nothing was counted", async () => {
    let batches = 0;
    await daemon((request, response) => {
      request.resume();
      request.once("end", () => {
        if (batches++ === 0) response.end('{"accepted":500,"repeated":0,"rejected":0,"errors":[]}');
        else response.writeHead(503).end('{"error":{"code":"store.full","message":"no space left"}}');
      });
    });
    expect(await ctl(["feed", "-"], "{}\n".repeat(600))).toEqual({
      code: 74,
      stdout: "",
      stderr:
        "mailreportctl: the lines before line 501 were counted, the others were not\nmailreportctl: no space left\n",
    });
  });

  it("on a terminal the number of a page was given as that of all", async () => {
    let next = '"m371"';
    await daemon((_request, response) => response.end(`{"end":{"count":12,"next":${next}}}\n`));
    const terminal = { stdoutIsTTY: true };
    expect((await inside(["show", "received"], terminal)).err).toBe("12 shown; more: --after m371\n");
    next = "null";
    expect((await inside(["show", "received"], terminal)).err).toBe("12 found.\n");
  });

  it("lines of an import were written over its progress: the line is erased first", async () => {
    await daemon((request, response) => {
      request.resume();
      request.once("end", () =>
        response.end(
          '{"file":"a.xml","outcome":"imported","reason":null,"reports":[],"mail":"m1"}\n' +
            '{"file":"b.xml","outcome":"invalid","reason":"xml","reports":[],"mail":"m2"}\n' +
            '{"end":{"count":2,"next":null,"imported":1,"invalid":1}}\n',
        ),
      );
    });
    for (const name of ["a.xml", "b.xml"]) writeFileSync(join(dir, name), dmarcXml());
    const { err, out } = await inside(["import", join(dir, "a.xml"), join(dir, "b.xml")], {
      stdoutIsTTY: true,
      files: async () => ({
        check: () => expect.unreachable(),
        split: async function* () {
          yield { member: null, raw: Buffer.from("x"), form: "file" };
        },
      }),
    });
    expect(err).toBe(
      "\r1 of 2 parsed\u001b[K\r2 of 2 parsed\u001b[K\r\u001b[Kb.xml: invalid: xml\n\r\u001b[K",
    );
    expect(out).toBe("imported 1, invalid 1\n");
  });

  it("figures that lack mail were given silently: a line on stderr says so", async () => {
    await daemon((request, response) => {
      if (request.url?.startsWith("/v1/days"))
        response.end('{"end":{"count":0,"next":null,"unparsed":12}}\n');
      else response.setHeader("mailreport-unparsed", "1").end('{"uptime":1}');
    });
    expect(await ctl(["show", "days"])).toEqual({
      code: 0,
      stdout: "",
      stderr: "note: 12 accepted mails are not parsed yet; figures are incomplete; use --wait\n",
    });
    expect((await ctl(["show", "stats"])).stderr).toBe(
      "note: 1 accepted mail is not parsed yet; figures are incomplete; use --wait\n",
    );
  });

  it("--wait was 0 while nothing parses: it is 75 and says why", async () => {
    let parsing = "paused";
    await daemon((request, response) => {
      if (request.url?.startsWith("/v1/days"))
        response.end(`{"end":{"count":0,"next":null,"unparsed":2,"parsing":"${parsing}"}}\n`);
      else
        response
          .setHeader("mailreport-unparsed", "2")
          .setHeader("mailreport-parsing", parsing)
          .end('{"uptime":1}');
    });
    const note = (why: string) =>
      `note: 2 accepted mails are not parsed yet; figures are incomplete; ${why}\n`;
    for (const command of ["days", "stats"]) {
      parsing = "paused";
      const paused = note("parsing is paused (resume mda)");
      expect(await inside(["show", command])).toMatchObject({ code: 0, err: paused });
      expect(await inside(["show", command, "--wait"])).toMatchObject({ code: 75, err: paused });
      parsing = "failing";
      const failing = note("parsing fails (see the log)");
      expect(await inside(["show", command, "--wait"])).toMatchObject({ code: 75, err: failing });
    }
  });

  it("--wait reaches every question about the archive", async () => {
    const urls: string[] = [];
    await daemon((request, response) => {
      urls.push(request.url ?? "");
      response.end(
        /^\/v1\/(?:reports|received)\/|^\/v1\/stats/.test(request.url ?? "")
          ? '{"id":"r1"}'
          : '{"end":{"count":0,"next":null}}\n',
      );
    });
    const lists = [
      "received",
      "records",
      "domains",
      "sources",
      "reporters",
      "tls",
      "failures",
      "dsn",
      "days",
    ];
    const asked = [
      ...lists.map((name) => ["show", name]),
      ["show", "received", "--reports"],
      ["show", "report", "r1"],
      ["show", "report", "r1", "--rows"],
      ["show", "mail", "m1"],
      ["show", "stats"],
      ...lists.map((name) => ["export", name]),
    ];
    for (const args of asked) {
      urls.length = 0;
      await inside([...args, "--wait"]);
      expect(urls, args.join(" ")).toEqual([expect.stringMatching(/[?&]wait=true(?:&|$)/)]);
    }
  });
});

describe("a mistake in a command is named before the daemon is asked", () => {
  // there is no daemon: asking it is exit code 69
  it.each([
    ["export mails --state held", "--state cannot be held"],
    ["export queue --state partial", "--state cannot be partial"],
    ["export mails --after r1", "--after: not a cursor of this list: r1"],
    ["show received --after r1", "--after: not a cursor of this list: r1"],
    ["show received --reports --after m1", "--after: not a cursor of this list: m1"],
    ["show jobs --json --csv", "only one of --json and --csv is possible"],
    ["export records --tsv --plain", "only one of --tsv and --plain is possible"],
  ])("%s", async (line, says) => {
    const ran = await ctl(line.split(" "));
    expect([ran.code, ran.stdout, ran.stderr.split("\n")[0]]).toEqual([64, "", `mailreportctl: ${says}`]);
  });

  it("the words and cursors of the list itself are asked for", async () => {
    for (const line of [
      "export mails --state failed --after m1",
      "export queue --state held",
      "show received --reports --after r1 --csv",
    ])
      expect((await ctl(line.split(" "))).code, line).toBe(69);
  });
});

describe("the texts of commands", () => {
  it("suppress add replaced an entry without a word, and a missing reason left a bare colon", async () => {
    const entry = { target: "@slow.example", until: null, author: "operator", reason: "" };
    await daemon((request, response) => {
      request.resume();
      request.once("end", () =>
        response.end(
          JSON.stringify(
            request.method === "GET"
              ? { suppressed: true, waiting: 0, entries: [entry] }
              : {
                  entry,
                  replaced: { ...entry, reason: "full", until: "2026-12-24T00:00:00Z" },
                  waiting: 0,
                },
          ),
        ),
      );
    });
    const before = "@slow.example is suppressed until 2026-12-24T00:00:00Z (operator): full";
    expect((await inside(["suppress", "add", "@slow.example"])).out).toBe(
      `@slow.example suppressed\nreplaced: ${before}\n`,
    );
    expect((await inside(["suppress", "add", "-n", "@slow.example"])).out).toBe(
      `@slow.example would be suppressed\nwould replace: ${before}\n`,
    );
    expect((await inside(["suppress", "lookup", "@slow.example"])).out).toBe(
      "@slow.example is suppressed (operator)\n",
    );
  });

  it("a check without detail, and an entry without reason, ended in a bare colon", async () => {
    await daemon((_request, response) =>
      response.end(
        '{"checks":[{"check":"suppression example.net","ok":false,"detail":""}],"verdict":"will not be sent"}',
      ),
    );
    expect((await inside(["report", "explain", "d!example.net"])).out).toBe(
      "FAIL  suppression example.net\nverdict: will not be sent\n",
    );
    const entry = { target: "a@b.example", until: null, author: "operator", createdAt: 0, step: 0 } as const;
    expect(suppressionText({ ...entry, reason: "" })).toBe("a@b.example is suppressed (operator)");
    expect(suppressionText({ ...entry, reason: "full" })).toBe("a@b.example is suppressed (operator): full");
  });

  it("help of one command begins with its usage, and all options are in line", async () => {
    for (const { words } of COMMANDS.filter(({ run }) => run !== "help")) {
      const { out } = await inside(["help", ...words]);
      const options = out.split("\n").filter((line) => /^ {2}(?:-\w, )?--/.test(line));
      const starts = options.map((line) => /^ {2}\S.*? {2,}(?=\S)/.exec(line)?.[0].length);
      expect(new Set(starts).size, out).toBe(1);
    }
    expect((await inside(["help", "show", "queue"])).out).toMatch(
      /^usage: mailreportctl \[options\] show queue \[ID\]\n\nenvelopes in the queue\n/,
    );
    expect((await inside(["help"])).out).toMatch(/^usage: mailreportctl \[options\] command\n/);
  });

  it("show stats of a name that is none printed nothing", async () => {
    await daemon((_request, response) => response.end('{"uptime":1}'));
    expect(await inside(["show", "stats", "foo"])).toEqual({
      code: 1,
      out: "",
      err: "mailreportctl: nothing matched: foo\n",
    });
  });

  it("a number that is none was an error of the daemon's parser: it names the option", async () => {
    for (const limit of ["x", "0", "1.5", "-3"])
      expect(await inside(["show", "received", `--limit=${limit}`])).toEqual({
        code: 64,
        out: "",
        err: `mailreportctl: --limit: not a number from 1 to 10000000: ${limit}\n`,
      });
  });

  it("MAILREPORTCTL_SOCKET set to nothing was taken for a path", () => {
    expect(socketPath(undefined, { MAILREPORTCTL_SOCKET: "" })).toBe(socketPath(undefined, {}));
    expect(socketPath(undefined, { MAILREPORTCTL_SOCKET: "/x" })).toBe("/x");
  });
});

describe("files that cannot be read", () => {
  it.each([
    [["check", "missing.xml"], "missing.xml: no such file"],
    [["check", "file/below"], "file/below: not a directory"],
    [["import", "-n", "missing.xml"], "missing.xml: no such file"],
    [["feed", "missing.jsonl"], "missing.jsonl: no such file"],
    [["feed", "."], ".: is a directory"],
  ])("%j: one line and 66, no stack", async (args, why) => {
    writeFileSync(join(dir, "file"), "");
    const { code, stderr } = await ctl(args);
    expect([code, stderr.split("\n")[0]]).toEqual([66, `mailreportctl: ${why}`]);
    expect(stderr).not.toContain("    at ");
  });

  it("import goes on with the others", async () => {
    await daemon((request, response) => {
      request.resume();
      request.once("end", () => response.end('{"end":{"count":1,"next":null,"imported":1}}\n'));
    });
    writeFileSync(join(dir, "a.xml"), dmarcXml());
    expect(await ctl(["import", "missing.xml", "a.xml"])).toMatchObject({
      code: 66,
      stderr: oneLine(/missing\.xml: no such file/),
    });
  });

  it.skipIf(process.getuid?.() !== 0)("unreadable ones are 66 as well", () => {
    writeFileSync(join(dir, "secret.xml"), dmarcXml(), { mode: 0o000 });
    spawnSync("chmod", ["755", dir]);
    const ran = spawnSync(process.execPath, [MAILREPORTCTL, "check", join(dir, "secret.xml")], {
      uid: 65_534,
      gid: 65_534,
      cwd: "/",
      encoding: "utf8",
    });
    expect([ran.status, ran.stderr]).toEqual([
      66,
      `mailreportctl: ${join(dir, "secret.xml")}: permission denied\n`,
    ]);
  });

  it("a directory for raw mails that cannot be made is 73", async () => {
    writeFileSync(join(dir, "file"), "");
    expect(await ctl(["export", "raw", "m1", "--output", "file/below"])).toMatchObject({
      code: 73,
      stderr: oneLine(/file\/below: not a directory/),
    });
  });
});

describe("the ends of the program", () => {
  it("a reader that has enough is no error", async () => {
    await daemon((_request, response) => {
      const line = '{"day":"2026-11-20","messages":1,"pass":1,"fail":0,"unknown":0}\n';
      response.end(`${line.repeat(50_000)}{"end":{"count":50000,"next":null}}\n`);
    });
    const child = spawn("bash", [
      "-c",
      `"${process.execPath}" "${MAILREPORTCTL}" -S "${join(dir, "s")}" show days --json | head -1; echo "\${PIPESTATUS[0]}"`,
    ]);
    let out = "";
    child.stdout.on("data", (chunk: Buffer) => {
      out += chunk.toString();
    });
    let err = "";
    child.stderr.on("data", (chunk: Buffer) => {
      err += chunk.toString();
    });
    await new Promise((resolve) => child.once("close", resolve));
    expect(out.split("\n")[1]).toBe("0");
    expect(err).toBe("");
  });

  it("a full device behind standard output printed a stack: it is one line and 74", async () => {
    const ran = spawnSync("bash", ["-c", `"${process.execPath}" "${MAILREPORTCTL}" help >/dev/full`], {
      encoding: "utf8",
    });
    expect(ran.status).toBe(74);
    expect(ran.stderr).toMatch(/^mailreportctl: standard output: [^\n]*ENOSPC[^\n]*\n$/);
  });

  it("an error that nobody expects printed a stack: it is one line and 70", async () => {
    const { code, err } = await inside(["check", "x"], {
      files: () => Promise.reject(new TypeError("x is not a function")),
    });
    expect([code, err]).toEqual([
      70,
      "mailreportctl: unexpected error; this is a bug: x is not a function\n",
    ]);
  });
});

/** Runs a command in this process, with surroundings of the test. */
async function inside(
  args: readonly string[],
  surroundings: Partial<Parameters<typeof run>[0]> = {},
): Promise<{ code: number; out: string; err: string }> {
  let out = "";
  let err = "";
  const code = await run({
    args: ["-S", join(dir, "s"), ...args],
    environment: {},
    stdoutIsTTY: false,
    columns: 80,
    now: 0,
    out: (text) => {
      out += text;
    },
    outBytes: () => {},
    err: (text) => {
      err += text;
    },
    stdin: new PassThrough(),
    version: "0",
    files: () => Promise.reject(new Error("no files in this test")),
    confirm: async () => null,
    ...surroundings,
  });
  return { code, out, err };
}

describe("a question", () => {
  const asked = (typed: string): Promise<string> => {
    const input = new PassThrough();
    const answer = ask("go on? ", input, new PassThrough());
    input.write(typed);
    return answer;
  };

  it("is answered by a line, by the end of the input, or by ^C", async () => {
    expect(await asked("12\n")).toBe("12");
    expect(await asked("\x04")).toBe("");
    await expect(asked("\x03")).rejects.toBeInstanceOf(Interrupted);
  });

  it("^C printed a warning of the runtime and 13: it is one line and 130, and nothing is deleted", async () => {
    const deleted: string[] = [];
    await prunable(deleted);
    const ran = await inside(["db", "prune"], { confirm: () => Promise.reject(new Interrupted()) });
    expect([ran.code, ran.err]).toEqual([130, "\nmailreportctl: interrupted; nothing was changed\n"]);
    expect(deleted).toEqual([]);
  });

  it("db prune deleted without asking: it asks, or wants --yes", async () => {
    const deleted: string[] = [];
    await prunable(deleted);
    const what = "3 raw mails, 4 records would be deleted";
    expect(await inside(["db", "prune"])).toMatchObject({
      code: 64,
      err: `mailreportctl: ${what}; say --yes\n`,
    });
    const questions: string[] = [];
    const answering = (answer: string) => ({
      confirm: async (question: string) => {
        questions.push(question);
        return answer;
      },
    });
    expect(await inside(["db", "prune"], answering("y"))).toMatchObject({
      code: 130,
      err: "mailreportctl: nothing was changed\n",
    });
    expect(await inside(["db", "prune", "-n"])).toMatchObject({
      code: 0,
      out: "3 raw mails would be deleted\n4 records would be deleted\n",
    });
    expect(deleted).toEqual([]);
    expect(await inside(["db", "prune"], answering("7"))).toMatchObject({
      code: 0,
      out: "3 raw mails deleted\n4 records deleted\n",
    });
    expect(questions).toEqual([`${what}. Type 7 to go on: `, `${what}. Type 7 to go on: `]);
    expect((await inside(["db", "prune", "--yes"])).code).toBe(0);
    expect(deleted).toHaveLength(2);
  });

  it("db prune --json did not say whether anything was deleted: it has dry_run", async () => {
    const deleted: string[] = [];
    await prunable(deleted, '{"dry_run":true,"raw_mails":3}');
    const [dry, done] = [
      await inside(["db", "prune", "-n", "--json"]),
      await inside(["db", "prune", "--yes", "--json"]),
    ];
    expect([dry, done].map(({ out }) => JSON.parse(out))).toEqual([
      { dry_run: true, raw_mails: 3 },
      { dry_run: false, raw_mails: 3 },
    ]);
    expect((await inside(["db", "prune", "-n"])).out).toBe("3 raw mails would be deleted\n");
  });

  it("db backup '' wrote into the directory of the client: it is a usage error", async () => {
    expect(await inside(["db", "backup", ""])).toMatchObject({
      code: 64,
      err: expect.stringContaining("the directory has no name"),
    });
  });

  it("db prune deleted finished envelopes without asking when nothing of the archive had expired", async () => {
    const deleted: string[] = [];
    await prunable(deleted, '{"raw_mails":0,"finished_envelopes":4}');
    expect(await inside(["db", "prune"])).toMatchObject({
      code: 64,
      err: "mailreportctl: 4 finished envelopes would be deleted; say --yes\n",
    });
    expect(deleted).toEqual([]);
  });

  it("db prune with nothing to confirm deleted what expired after the count: it deletes nothing", async () => {
    const deleted: string[] = [];
    await prunable(deleted, '{"raw_mails":0,"finished_envelopes":0}');
    expect(await inside(["db", "prune"])).toMatchObject({
      code: 0,
      out: "0 raw mails deleted\n0 finished envelopes deleted\n",
    });
    expect(deleted).toEqual([]);
  });

  async function prunable(deleted: string[], counts = '{"raw_mails":3,"records":4}'): Promise<void> {
    await daemon((request, response) => {
      let body = "";
      request.on("data", (chunk: Buffer) => {
        body += chunk.toString();
      });
      request.once("end", () => {
        if (!(JSON.parse(body) as { dry_run: boolean }).dry_run) deleted.push(body);
        response.end(counts);
      });
    });
  }
});

describe("check", () => {
  const report = (id: string) => Buffer.from(dmarcXml().replace(/<report_id>[^<]*/, `<report_id>${id}`));
  const members = (n: number) =>
    Array.from({ length: n }, (_, i) => ({ name: `r${i}.xml`, content: report(`id-${i}`) }));
  const results = async (...args: string[]) => {
    const ran = await ctl(["check", "--json", ...args]);
    return { ...ran, lines: ndjson(ran.stdout) as { file: string; member?: string; outcome: string }[] };
  };

  it("a tar of 150 reports ended after 100 with exit code 0: each member has a result, as in an import", async () => {
    writeFileSync(join(dir, "all.tar"), tar(members(150)));
    writeFileSync(join(dir, "all.tar.gz"), gz(tar(members(150))));
    for (const name of ["all.tar", "all.tar.gz"]) {
      const { code, lines } = await results(name);
      expect([code, lines.length]).toEqual([0, 150]);
      expect(lines[149]).toMatchObject({ file: name, member: "r149.xml", outcome: "imported" });
    }
    expect((await ctl(["check", "all.tar"])).stdout).toMatch(/^all\.tar#r0\.xml: imported\n/);
  });

  it("a directory was refused: it is checked with all below it, and the same files as by import", async () => {
    mkdirSync(join(dir, "in", "below"), { recursive: true });
    writeFileSync(join(dir, "in", "a.xml"), report("a"));
    writeFileSync(join(dir, "in", "below", "b.xml"), "nonsense");
    writeFileSync(join(dir, "in", ".hidden"), "nonsense");
    writeFileSync(join(dir, "in", "c.tar"), tar(members(2)));
    const { code, lines } = await results("in");
    expect(lines.map(({ file, member }) => [file, member])).toEqual([
      ["in/a.xml", undefined],
      ["in/below/b.xml", undefined],
      ["in/c.tar", "r0.xml"],
      ["in/c.tar", "r1.xml"],
    ]);
    expect(Object.keys(lines[0]!)).toEqual(["file", "outcome", "reason", "reports"]);
    const dry = await ctl(["import", "-n", "--json", "in"]);
    expect(ndjson(dry.stdout).slice(0, -1)).toEqual(lines);
    expect(ndjson(dry.stdout).at(-1)).toMatchObject({ end: { count: 4, dry_run: true } });
    expect(dry.code).toBe(code);
  });

  it("damage in an archive was 0: what is skipped is told, and the exit code is 65", async () => {
    writeFileSync(join(dir, "cut.tar"), tar(members(3)).subarray(0, 2500));
    const { code, lines, stderr } = await results("cut.tar");
    expect([code, lines.length]).toEqual([65, 1]);
    expect(stderr).toMatch(/^mailreportctl: cut\.tar: skipped: truncated/);
  });

  it("of the reports of the tour needs no daemon", async () => {
    const { code, lines } = await results(join(ROOT, "contrib/tour/reports"));
    expect([code, lines.length]).toEqual([0, 3]);
  });
});
