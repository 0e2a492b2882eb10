/** Pauses, the audit trail and the instance's secret: what must survive a restart. */
import type { Pause } from "../../../model/queue.ts";
import type { Subsystem } from "../../../model/subsystems.ts";
import type { QueueStore } from "../../queue.ts";
import type { Sqlite } from "../open.ts";
import type { QueueTransaction } from "./transaction.ts";

/** Lines of the audit trail that are kept. */
const KEPT_AUDIT = 100_000;
const SECRET_SIZE = 32;

export type SteeringPart = Pick<QueueStore, "pauses" | "pause" | "resume" | "audit" | "instanceSecret">;

export function makeSteering(database: Sqlite, transaction: QueueTransaction): SteeringPart {
  const pauses = database.prepare<[], Omit<Pause, "destination"> & { readonly destination: string }>(
    "SELECT subsystem, destination, since, who, reason FROM pause ORDER BY subsystem, destination",
  );
  const pause = database.prepare(
    `INSERT INTO pause (subsystem, destination, since, who, reason)
     VALUES (@subsystem, @destination, @since, @who, @reason) ON CONFLICT DO NOTHING`,
  );
  const resume = database.prepare("DELETE FROM pause WHERE subsystem = ? AND destination = ?");
  const audit = database.prepare(
    "INSERT INTO audit (at, who, command, detail) VALUES (@at, @who, @command, @detail)",
  );
  const trim = database.prepare("DELETE FROM audit WHERE no <= ?");
  const secret = database.prepare<[], Buffer>("SELECT value FROM meta WHERE key = 'secret'").pluck();
  const setSecret = database.prepare("INSERT INTO meta (key, value) VALUES ('secret', ?)");

  return {
    pauses: () =>
      pauses.all().map((row) => ({ ...row, destination: row.destination === "" ? null : row.destination })),
    pause: (entry) =>
      transaction.run(() => pause.run({ ...entry, destination: entry.destination ?? "" }).changes === 1),
    resume: (subsystem: Subsystem, destination) =>
      transaction.run(() => resume.run(subsystem, destination ?? "").changes === 1),
    audit: (entry) =>
      transaction.run(() => {
        const no = Number(audit.run(entry).lastInsertRowid);
        if (no % 1000 === 0) trim.run(no - KEPT_AUDIT);
      }),
    instanceSecret: (make) =>
      transaction.run(() => {
        const known = secret.get();
        if (known?.byteLength === SECRET_SIZE) return known;
        const made = make();
        setSecret.run(made);
        return made;
      }),
  };
}
