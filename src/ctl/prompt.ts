/** Questions to the person at the terminal. */
import { createInterface } from "node:readline";

/** The person typed ^C in place of an answer. */
export class Interrupted extends Error {
  constructor() {
    super("interrupted");
    this.name = "Interrupted";
  }
}

/** Asks one question; the end of the input (^D) is an empty answer. Rejects with Interrupted for ^C. */
export function ask(
  question: string,
  input: NodeJS.ReadableStream,
  output: NodeJS.WritableStream,
): Promise<string> {
  const lines = createInterface({ input, output, terminal: true });
  return new Promise<string>((resolve, reject) => {
    lines.on("SIGINT", () => reject(new Interrupted()));
    lines.on("close", () => resolve(""));
    lines.question(question, resolve);
  }).finally(() => lines.close());
}
