import type { Reporter, TestModule } from "vitest/node";

/** Prints every skipped test with its name and the reason, and `Tests: N passed, N failed` as the last line. */
export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    let passed = 0;
    let failed = errors.length;
    const skipped: string[] = [];
    for (const module of modules) {
      failed += module.errors().length;
      // a hook that failed is no test, but the run has failed
      for (const suite of module.children.allSuites()) failed += suite.errors().length;
      for (const test of module.children.allTests()) {
        const result = test.result();
        if (result.state === "passed") passed++;
        else if (result.state === "failed") failed++;
        else {
          const note = "note" in result && result.note ? result.note : "a condition of the test is not met";
          skipped.push(`${module.relativeModuleId}: ${test.fullName}: ${note}`);
        }
      }
    }
    for (const name of skipped) process.stdout.write(`skipped: ${name}\n`);
    process.stdout.write(
      `\nTests: ${passed} passed, ${failed} failed${skipped.length ? `, ${skipped.length} skipped` : ""}\n`,
    );
  }
}
