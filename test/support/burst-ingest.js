/**
 * The ingest process with a clock of its own, which goes on by a millisecond each time it is looked at: then parsing
 * several mails takes longer than a commit on any machine, under any load.
 */
let now = 0;
performance.now = () => ++now;
await import("../../dist/receive/ingest/child.js");
