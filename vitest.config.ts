import { defineConfig } from "vitest/config";

/** Three levels of tests: unit (pure), component (real SQLite and sockets), e2e (the built daemon). */
export default defineConfig({
  test: {
    globalSetup: ["test/support/build.ts"],
    include: ["test/**/*.test.ts"],
    exclude: ["test/extra/**"],
    // they only end a test that hangs: a loaded machine must not fail one
    testTimeout: 180_000,
    hookTimeout: 180_000,
    setupFiles: ["test/support/failed.ts"],
    maxWorkers: 2,
    pool: "forks",
    reporters: ["default", "./test/support/summary-reporter.ts"],
  },
});
