/** The word grammar: abbreviations, options, and what is answered to words that are none. */
import { describe, expect, it } from "vitest";
import { COMMANDS } from "../../src/ctl/commands.ts";
import { parse, UsageError } from "../../src/ctl/grammar.ts";

const typed = (line: string) => parse(COMMANDS, line.split(" ").filter(Boolean));
const words = (line: string) => typed(line).command.words.join(" ");
function refusal(line: string): readonly string[] {
  try {
    typed(line);
  } catch (error) {
    expect(error).toBeInstanceOf(UsageError);
    return (error as UsageError).lines;
  }
  return expect.unreachable(line);
}

describe("the grammar", () => {
  it.each([
    ["sh q", "show queue"],
    ["show rec", undefined],
    ["show recei", "show received"],
    ["show day", "show days"],
    ["exp records", "export"],
    ["db st", "db stats"],
    ["ingest r", "ingest retry"],
  ])("%s", (line, command) => {
    if (command === undefined) expect(refusal(line)[0]).toBe(`ambiguous command: ${line}`);
    else expect(words(line)).toBe(command);
  });

  it("takes options anywhere, and values that look like options", () => {
    const { options, operands } = typed("--since -7d show records example.org --limit=5");
    expect(options).toEqual({ since: "-7d", limit: "5" });
    expect(operands).toEqual(["example.org"]);
  });

  it("answers an unknown word with the known ones", () => {
    expect(refusal("db frobnicate")).toEqual([
      "unknown command: db frobnicate",
      "possibilities are:",
      "db backup",
      "db check",
      "db vacuum",
      "db prune",
      "db stats",
      "see: mailreportctl help",
    ]);
    expect(refusal("shwo queue")[0]).toBe('unknown command: shwo; did you mean "show"?');
  });

  it("answers an unknown filter with those of the command", () => {
    const lines = refusal("show domains --result fail");
    expect(lines.slice(0, 6)).toEqual([
      "unknown option: --result",
      "possibilities are:",
      "--domain DOMAIN",
      "--org TEXT",
      "--since TIME",
      "--until TIME",
    ]);
    expect(refusal("show domains --domian x")[0]).toBe('unknown option: --domian; did you mean "--domain"?');
    // what is wrong with a changing command must never widen it
    expect(refusal("remove --domian x all")[0]).toMatch(/^unknown option: --domian/);
  });

  it("answered an unknown option without a command with the commands: it names the option", () => {
    for (const line of ["-V", "show -V", "--frobnicate", "show --frobnicate"])
      expect(refusal(line)).toEqual([`unknown option: ${line.split(" ").at(-1)}`, "see: mailreportctl help"]);
    expect(refusal("show queue -V")[0]).toBe("unknown option: -V");
    expect(refusal("show --json")[0]).toBe("possibilities are:");
  });

  it("answers a value that is none with those there are", () => {
    expect(refusal("show records --result bad")).toEqual([
      "--result cannot be bad",
      "possibilities are:",
      "pass",
      "fail",
      "unknown",
    ]);
    expect(refusal("reparse --state faild")[0]).toBe('--state cannot be faild; did you mean "failed"?');
    expect(refusal("show received --reports --warning long-spam")[0]).toBe(
      '--warning cannot be long-spam; did you mean "long-span"?',
    );
    expect(refusal("export records --format xml").slice(2)).toEqual(["ndjson", "csv", "tsv"]);
  });

  it("does not take the values of one command for those of another", () => {
    expect(typed("show queue --state held").options.state).toBe("held");
    expect(typed("show received --state failed").options.state).toBe("failed");
    expect(refusal("show queue --state partial")[0]).toBe("--state cannot be partial");
  });

  it("gives every option of every command one meaning", () => {
    for (const { words, options = [] } of COMMANDS) {
      const names = options.map((option) => option.name);
      expect(new Set(names).size, words.join(" ")).toBe(names.length);
      const letters = options.flatMap((option) => option.short ?? []);
      expect(new Set(letters).size, words.join(" ")).toBe(letters.length);
    }
  });
});
