/** Files on this side of the socket: what `import`, `check` and `feed` read. */
import { createReadStream } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { EXIT } from "../lib/exit.ts";
import { ClientError } from "./client.ts";

/** A member of a collection (mbox, tar), or a file itself. */
export interface Piece {
  /** Name inside a collection; null for the file itself. */
  readonly member: string | null;
  readonly raw: Uint8Array;
  readonly form: "mail" | "file";
}

/** One thing to import or check, with the path that it was found at. */
export interface FoundPiece extends Piece {
  readonly path: string;
}

/** Splits a collection into its members and reports those that are skipped; anything else is one piece. */
export type Split = (
  chunks: AsyncIterable<Uint8Array>,
  name: string,
  skipped: (error: ClientError) => void,
) => AsyncIterable<Piece>;

/** The text of an error of the file system. */
export function fileErrorText(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  const known: Readonly<Record<string, string>> = {
    ENOENT: "no such file",
    EACCES: "permission denied",
    EISDIR: "is a directory",
    ENOTDIR: "not a directory",
    ENOSPC: "no space left",
    EEXIST: "is there already",
    EROFS: "the file system is read-only",
  };
  return known[code ?? ""] ?? message;
}

const isFileError = (error: unknown): boolean =>
  error instanceof Error && typeof (error as NodeJS.ErrnoException).errno === "number";

/** The bytes of a file, or of standard input for `-`. Errors: ClientError with exit code 66. */
export async function* fileSource(
  path: string,
  stdin: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, undefined> {
  try {
    yield* path === "-" ? stdin : (createReadStream(path) as AsyncIterable<Uint8Array>);
  } catch (error) {
    if (!isFileError(error)) throw error;
    throw new ClientError(`${path}: ${fileErrorText(error)}`, EXIT.NOINPUT);
  }
  return undefined;
}

/**
 * All pieces of the files at and below the paths: directories in the order of their names, collections split.
 * Hidden files and Maildir's tmp are skipped.
 * @param lost called for what is skipped: files that cannot be read (exit code 66), damage in collections (65)
 */
export async function* piecesOf(
  paths: readonly string[],
  stdin: AsyncIterable<Uint8Array>,
  split: Split,
  lost: (error: ClientError) => void,
): AsyncGenerator<FoundPiece, undefined> {
  for await (const path of filesOf(paths, lost)) {
    try {
      for await (const piece of split(fileSource(path, stdin), path, lost)) yield { path, ...piece };
    } catch (error) {
      if (!(error instanceof ClientError)) throw error;
      lost(error);
    }
  }
  return undefined;
}

async function* filesOf(
  paths: readonly string[],
  lost: (error: ClientError) => void,
): AsyncGenerator<string, undefined> {
  for (const path of paths) {
    if (path === "-") {
      yield path;
      continue;
    }
    const names = await namesIn(path, lost);
    if (names === undefined) continue;
    if (names === null) yield path;
    else
      yield* filesOf(
        names.map((name) => join(path, name)),
        lost,
      );
  }
  return undefined;
}

/** The files of a directory; null for a file, undefined for what cannot be read. */
async function namesIn(
  path: string,
  lost: (error: ClientError) => void,
): Promise<readonly string[] | null | undefined> {
  try {
    if (!(await stat(path)).isDirectory()) return null;
    return (await readdir(path)).sort().filter((name) => !name.startsWith(".") && name !== "tmp");
  } catch (error) {
    if (!isFileError(error)) throw error;
    lost(new ClientError(`${path}: ${fileErrorText(error)}`, EXIT.NOINPUT));
    return undefined;
  }
}
