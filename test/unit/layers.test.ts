/** The layer table: who may import whom, and which npm package each folder may know. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";
import { describe, expect, it } from "vitest";
import { ROOT } from "../support/build.ts";

const SRC = join(ROOT, "src");

/** A folder may import folders of a lower rank; siblings (equal rank) never each other. */
const RANK: Readonly<Record<string, number>> = {
  lib: 0,
  model: 1,
  format: 2,
  dns: 2,
  config: 2,
  store: 3,
  receive: 4,
  analyse: 4,
  feed: 4,
  report: 4,
  deliver: 4,
  services: 4.5,
  control: 5,
  daemon: 5.5,
  "daemon.ts": 6,
  bin: 7,
};

/** Types that one sibling takes from another's contract file. */
const TYPE_ONLY = new Set(["format -> config/schema.ts"]);

/** What the client may import: it must start fast and know no server code. */
const CTL_MAY = [/^lib\//, /^model\//, /^control\/wire\.ts$/, /^ctl\//];

const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  "better-sqlite3": ["store/sqlite"],
  "fast-xml-parser": ["format"],
  pako: ["format"],
  "node:zlib": ["format"],
  zod: ["config", "feed", "control"],
  "toml-eslint-parser": ["config"],
  fastify: ["control"],
  "fastify-type-provider-zod": ["control"],
  "smtp-server": ["receive"],
  nodemailer: ["deliver"],
  mailauth: ["receive/auth"],
  "node:dns": ["dns"],
  pino: ["lib"],
};

interface Import {
  readonly file: string;
  readonly to: string;
  readonly typeOnly: boolean;
}

function files(dir: string): string[] {
  return readdirSync(dir, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory()
      ? files(join(dir, entry.name))
      : entry.name.endsWith(".ts")
        ? [join(dir, entry.name)]
        : [],
  );
}

function importsOf(path: string): Import[] {
  const text = readFileSync(path, "utf8");
  const found: Import[] = [];
  const pattern =
    /^\s*(?:import|export)\s+(type\s)?(?:[^"';]*?\sfrom\s+)?"([^"]+)"|\bimport\(\s*"([^"]+)"\s*\)/gm;
  for (const match of text.matchAll(pattern)) {
    found.push({
      file: relative(SRC, path),
      to: match[2] ?? match[3]!,
      typeOnly: match[1] !== undefined,
    });
  }
  return found;
}

const all = files(SRC).flatMap(importsOf);
const folderOf = (file: string): string => file.split("/")[0]!;

/** Every circle of imports, type imports included, as a path that ends where it begins. */
function circlesOf(graph: ReadonlyMap<string, readonly string[]>): string[] {
  const circles: string[] = [];
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]): void => {
    const at = path.indexOf(file);
    if (at >= 0) circles.push([...path.slice(at), file].join(" -> "));
    if (at >= 0 || done.has(file)) return;
    for (const next of graph.get(file) ?? []) visit(next, [...path, file]);
    done.add(file);
  };
  for (const file of graph.keys()) visit(file, []);
  return circles;
}

describe("layers", () => {
  it("finds the sources", () => {
    expect(all.length).toBeGreaterThan(20);
  });

  it("every folder has its place in the table", () => {
    const known = new Set([...Object.keys(RANK), "ctl", "web"]);
    expect(
      files(SRC)
        .map((f) => folderOf(relative(SRC, f)))
        .filter((f) => !known.has(f)),
    ).toEqual([]);
  });

  it("imports go to the left only", () => {
    const wrong: string[] = [];
    for (const { file, to, typeOnly } of all) {
      if (!to.startsWith(".")) continue;
      const target = normalize(join(dirname(file), to));
      const from = folderOf(file);
      const into = folderOf(target);
      if (from === into) continue;
      if (from === "ctl") {
        if (!CTL_MAY.some((pattern) => pattern.test(target))) wrong.push(`${file} -> ${target}`);
        continue;
      }
      if (into === "ctl" && from === "bin") continue;
      if (typeOnly && TYPE_ONLY.has(`${from} -> ${target}`)) continue;
      if (!((RANK[into] ?? 99) < (RANK[from] ?? -1))) wrong.push(`${file} -> ${target}`);
    }
    expect(wrong).toEqual([]);
  });

  it("no two files import each other, not even through others", () => {
    const graph = new Map<string, string[]>();
    for (const { file, to } of all) {
      if (!to.startsWith(".")) continue;
      graph.set(file, [...(graph.get(file) ?? []), normalize(join(dirname(file), to))]);
    }
    expect(circlesOf(graph)).toEqual([]);
  });

  it("a circle of imports is found", () => {
    const graph = new Map([
      ["a.ts", ["b.ts"]],
      ["b.ts", ["c.ts", "d.ts"]],
      ["c.ts", ["a.ts"]],
    ]);
    expect(circlesOf(graph)).toEqual(["a.ts -> b.ts -> c.ts -> a.ts"]);
  });

  it("each npm package is known only where it belongs", () => {
    const wrong: string[] = [];
    for (const { file, to } of all) {
      if (to.startsWith(".")) continue;
      const name = to.startsWith("node:")
        ? to.split("/")[0]!
        : to
            .split("/")
            .slice(0, to.startsWith("@") ? 2 : 1)
            .join("/");
      const allowed = PACKAGES[name];
      if (allowed === undefined) {
        if (!name.startsWith("node:")) wrong.push(`${file} imports ${name}, which is not in the table`);
      } else if (!allowed.some((folder) => file.startsWith(`${folder}/`)))
        wrong.push(`${file} imports ${name}`);
    }
    expect(wrong).toEqual([]);
  });

  it("the client needs node: built-ins only", () => {
    expect(
      all.filter((i) => folderOf(i.file) === "ctl" && !i.to.startsWith(".") && !i.to.startsWith("node:")),
    ).toEqual([]);
  });

  it("nobody but the programs makes real time or randomness", () => {
    const wrong = files(SRC).flatMap((path) => {
      const file = relative(SRC, path);
      if (
        file === "daemon.ts" ||
        file.startsWith("bin/") ||
        file === "lib/clock.ts" ||
        file.endsWith("/child.ts")
      )
        return [];
      const code = readFileSync(path, "utf8").replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, "");
      return /\bDate\.now\(|\bMath\.random\(|new Date\(\)/.test(code) ? [file] : [];
    });
    expect(wrong).toEqual([]);
  });
});
