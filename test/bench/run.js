/**
 * `npm run bench [name…]`: speed and memory as ratios against a yardstick of the same run. Figures of one machine
 * say little; the ratios are what to compare. Each file here exports `run(print)`.
 */
const ALL = ["parse", "smtp", "compose", "large-reports", "feed", "ctl", "archive", "bulk"];
const wanted = process.argv.slice(2);
for (const name of wanted) {
  if (!ALL.includes(name)) {
    console.error(`unknown benchmark: ${name} (there are: ${ALL.join(", ")})`);
    process.exit(64);
  }
}
for (const name of wanted.length > 0 ? wanted : ALL) {
  const { run } = await import(`./${name}.js`);
  console.log(`\n== ${name}`);
  await run((line) => console.log(line));
}
process.exit(0);
