/**
 * `npm run bench [name…]`: speed and memory as ratios to a yardstick measured in the same run. Absolute figures depend
 * on the machine; compare the ratios. Each file here exports `run(print)`.
 */
const ALL = ["parse", "smtp", "compose", "large-reports", "feed", "ctl", "archive", "bulk", "maintenance"];
const wanted = process.argv.slice(2);
for (const name of wanted) {
  if (!ALL.includes(name)) {
    console.error(`unknown benchmark: ${name} (known: ${ALL.join(", ")})`);
    process.exit(64);
  }
}
for (const name of wanted.length > 0 ? wanted : ALL) {
  const { run } = await import(`./${name}.js`);
  console.log(`\n== ${name}`);
  await run((line) => console.log(line));
}
process.exit(0);
