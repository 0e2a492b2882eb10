/**
 * `npm run test:load [RUNS]`: runs `npm test` several times in a row (3 unless told) beside one busy loop on each
 * processor. A test that depends on the speed of the machine fails here.
 */
import { spawn } from "node:child_process";
import { availableParallelism } from "node:os";

const runs = Number(process.argv[2] ?? 3);
if (!Number.isInteger(runs) || runs < 1) {
  console.error(`not a number of runs: ${process.argv[2]}`);
  process.exit(64);
}
const loops = Array.from({ length: availableParallelism() }, () =>
  spawn(process.execPath, ["-e", "for (;;);"], { stdio: "ignore" }),
);
const endLoops = () => {
  for (const loop of loops) loop.kill("SIGKILL");
};
process.on("exit", endLoops);
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(130));

let failed = 0;
for (let run = 1; run <= runs; run++) {
  const start = performance.now();
  const child = spawn("npm", ["test"], { stdio: "inherit" });
  const code = await new Promise((resolve) => child.once("close", resolve));
  if (code !== 0) failed++;
  const seconds = ((performance.now() - start) / 1000).toFixed(0);
  console.log(`run ${run} of ${runs} beside ${loops.length} busy loops: exit ${code}, ${seconds} s`);
}
process.exit(failed === 0 ? 0 : 1);
