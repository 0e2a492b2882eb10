import { defineConfig } from "vitest/config";

/** Three levels of tests: unit (pure), component (real SQLite and sockets), e2e (the built daemon). */
export default defineConfig({
  test: {
    globalSetup: ["test/support/build.ts"],
    include: ["test/**/*.test.ts"],
    exclude: ["test/extra/**"],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
    pool: "forks",
    reporters: ["default", "./test/support/summary-reporter.ts"],
  },
});
