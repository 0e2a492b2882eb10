/** The contract suite: what each implementation of the archive must do (src/store/archive/). */
import { describe } from "vitest";
import { authenticationContract } from "./authenticated.ts";
import { archiveForEach, type MakeArchive } from "./box.ts";
import { figuresContract } from "./figures.ts";
import { largeMailContract } from "./large.ts";
import { putContract } from "./put.ts";
import { questionsContract } from "./questions.ts";
import { reparseContract } from "./reparse.ts";
import { spoolContract } from "./spool.ts";
import { upkeepContract } from "./upkeep.ts";

/**
 * Runs the suite against an implementation.
 * @param make an empty archive for each test
 */
export function archiveContract(name: string, make: MakeArchive): void {
  describe(name, () => {
    const given = archiveForEach(make);
    putContract(given);
    authenticationContract(given);
    spoolContract(given);
    reparseContract(given);
    largeMailContract(given);
    figuresContract(given);
    questionsContract(given);
    upkeepContract(given);
  });
}
