/** Whether a test of this file has failed: then the folders of its daemons stay, for whoever looks for the cause. */
import { rmSync } from "node:fs";
import { beforeEach, type TestContext } from "vitest";

const tasks: TestContext["task"][] = [];

/** Remembers the tests of a file; the configuration of vitest runs it before each file. */
beforeEach(({ task }) => {
  tasks.push(task);
});

export const anyFailed = (): boolean => tasks.some((task) => task.result?.state === "fail");

/** Removes a test's folder, unless a test of the file has failed: then it says where the folder is. */
export function removeFolder(dir: string): void {
  if (anyFailed()) console.log(`kept: ${dir}`);
  else rmSync(dir, { recursive: true, force: true });
}
