/** The parts of README.md that tests follow word for word, marked by HTML comments: <!-- tour --> ... <!-- /tour -->. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./build.ts";

/** One step of a part. */
export type Step =
  /** A command (after "$ " or "# "), with what the README shows below it; "…" stands for anything. */
  | {
      readonly kind: "command";
      readonly user: "root" | "user";
      readonly command: string;
      readonly shown: readonly string[];
    }
  /** A block of another language, whose first line is a comment with the file's path: "# /etc/x.conf". */
  | { readonly kind: "file"; readonly path: string; readonly text: string };

/** The steps of a part in their order. Errors: there is no such part, or a block is neither commands nor a file. */
export function stepsOf(part: string, readme = readFileSync(join(ROOT, "README.md"), "utf8")): Step[] {
  const [, body] = new RegExp(`<!-- ${part} -->([\\s\\S]*?)<!-- /${part} -->`).exec(readme) ?? [];
  if (body === undefined) throw new Error(`README.md has no part ${part}`);
  const steps: Step[] = [];
  for (const [, indent, language, block] of body.matchAll(/^( *)```(\w+)\n([\s\S]*?)^ *```$/gm)) {
    const lines = block!.split("\n").map((line) => line.slice(indent!.length));
    if (language === "console") steps.push(...commands(lines));
    else steps.push(fileOf(lines));
  }
  return steps;
}

function commands(lines: readonly string[]): Step[] {
  const found: { kind: "command"; user: "root" | "user"; command: string; shown: string[] }[] = [];
  for (const line of lines) {
    const [, prompt, command] = /^([$#]) (.*)$/.exec(line) ?? [];
    if (command !== undefined) {
      found.push({ kind: "command", user: prompt === "#" ? "root" : "user", command, shown: [] });
    } else if (line !== "") found.at(-1)?.shown.push(line);
  }
  return found;
}

function fileOf(lines: readonly string[]): Step {
  const [, path] = /^# (\/\S+)$/.exec(lines[0] ?? "") ?? [];
  if (path === undefined) throw new Error(`a block of README.md does not name its file: ${lines[0]}`);
  return { kind: "file", path, text: lines.join("\n") };
}
