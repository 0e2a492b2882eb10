/** Where keys stand in a TOML file, and the file as a value. */
import { getStaticTOMLValue, type parseTOML } from "toml-eslint-parser";

type Ast = ReturnType<typeof parseTOML>;

export interface SourcePosition {
  /** From 1. */
  readonly line: number;
  readonly column: number;
}

interface Node {
  readonly type: string;
  readonly loc: { readonly start: { readonly line: number; readonly column: number } };
  readonly body?: readonly Node[];
  readonly key?: Node & { readonly keys: readonly Node[] };
  readonly value?: Node;
  readonly elements?: readonly Node[];
  readonly resolvedKey?: readonly (string | number)[];
  readonly name?: string;
}

/** The plain value of the file. */
export function plainValue(ast: Ast): unknown {
  return getStaticTOMLValue(ast);
}

/** Dotted path (`recipient[1].address`) → where its key stands. */
export function positionsOf(ast: Ast): ReadonlyMap<string, SourcePosition> {
  const positions = new Map<string, SourcePosition>();
  const note = (path: readonly (string | number)[], node: Node): void => {
    const text = path.reduce<string>(
      (out, key) => (typeof key === "number" ? `${out}[${key}]` : out === "" ? key : `${out}.${key}`),
      "",
    );
    if (!positions.has(text))
      positions.set(text, { line: node.loc.start.line, column: node.loc.start.column + 1 });
  };
  const walk = (node: Node, path: readonly (string | number)[]): void => {
    if (node.type === "TOMLTable") {
      const own = node.resolvedKey ?? [];
      note(own, node.key ?? node);
      for (const child of node.body ?? []) walk(child, own);
    } else if (node.type === "TOMLKeyValue") {
      let at = path;
      for (const key of node.key?.keys ?? []) {
        at = [...at, keyName(key)];
        note(at, key);
      }
      if (node.value) walk(node.value, at);
    } else if (node.type === "TOMLArray") {
      for (const [i, element] of (node.elements ?? []).entries()) {
        note([...path, i], element);
        walk(element, [...path, i]);
      }
    } else for (const child of node.body ?? []) walk(child, path);
  };
  walk(ast as unknown as Node, []);
  return positions;
}

function keyName(key: Node): string {
  return key.type === "TOMLBare" ? key.name! : String((key as unknown as { value: unknown }).value);
}
