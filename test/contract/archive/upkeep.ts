/** Retention and copies. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { RetentionPolicy } from "../../../src/store/archive/maintenance.ts";
import { dmarcXml, NOW } from "../../support/reading.ts";
import { type ContractBox, DAY, mailWithXml } from "./box.ts";

export function upkeepContract(given: () => ContractBox): void {
  describe("upkeep", () => {
    it("deletes raw mail and records that have expired, and keeps the day sums", async () => {
      await given().intake([mailWithXml(dmarcXml()), mailWithXml("")]);
      const keep: RetentionPolicy = {
        raw: 30 * DAY,
        failedRaw: 90 * DAY,
        records: 4000 * DAY,
        feedback: 30 * DAY,
      };
      const all = async (at: number, policy = keep): Promise<void> => {
        for (let n = 1; n > 0; ) n = await given().maintenance.expire(at, policy, 10);
      };
      const kept = async (): Promise<unknown[]> =>
        Promise.all(["m1", "m2"].map(async (id) => (await given().questions.receivedMail(id))?.raw_kept));
      await all(NOW + 29 * DAY);
      expect(await kept()).toEqual([true, true]);
      await all(NOW + 31 * DAY);
      expect(await kept()).toEqual([false, true]);
      await all(NOW + 91 * DAY);
      expect(await kept()).toEqual([false, false]);
      expect((await given().questions.list("records", {}, { limit: 10 })).items).toHaveLength(1);
      await all(NOW + 2 * DAY, { ...keep, records: DAY });
      expect((await given().questions.list("records", {}, { limit: 10 })).items).toEqual([]);
      expect(await given().questions.report("r1")).toMatchObject({ messages: 2 });
      expect(await given().total()).toBe(2);
    });

    it("copies the archive while mail comes in", async () => {
      const folder = mkdtempSync(join(tmpdir(), "contract-copy-"));
      try {
        const copying = given().maintenance.backup(join(folder, "copy"));
        const mails = Array.from({ length: 20 }, (_, n) => given().intake([mailWithXml(dmarcXml(`r${n}`))]));
        expect((await copying).bytes).toBeGreaterThan(0);
        await Promise.all(mails);
        expect(await given().total()).toBe(40);
      } finally {
        rmSync(folder, { recursive: true });
      }
    });

    it("tells what has expired before it is deleted, and nothing afterwards", async () => {
      await given().intake([mailWithXml(dmarcXml("a")), mailWithXml("")]);
      const policy = { raw: DAY, failedRaw: 2 * DAY, records: 3 * DAY, feedback: DAY };
      const expirable = (days: number) => given().questions.expirable(NOW + days * DAY + 1, policy);
      expect(await expirable(0)).toMatchObject({ raw_mails: 0, reports_with_records: 0 });
      expect(await expirable(1)).toMatchObject({ raw_mails: 1, reports_with_records: 0 });
      expect(await expirable(3)).toMatchObject({ raw_mails: 2, reports_with_records: 1 });
      await given().expire(NOW + 3 * DAY + 1, policy);
      expect(await expirable(3)).toMatchObject({ raw_mails: 0, reports_with_records: 0 });
    });
  });
}
