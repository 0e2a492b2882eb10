import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

/** Long tests, and those that need the corpus beside the repository or the network. */
export default defineConfig({
  test: {
    globalSetup: ["test/support/build.ts"],
    root: fileURLToPath(new URL("..", import.meta.url)),
    include: ["test/extra/**/*.test.ts"],
    testTimeout: 600_000,
    hookTimeout: 300_000,
    setupFiles: ["test/support/failed.ts"],
    maxWorkers: 1,
    pool: "forks",
    reporters: ["default", "./test/support/summary-reporter.ts"],
  },
});
