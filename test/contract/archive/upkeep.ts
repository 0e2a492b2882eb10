/** Retention and copies. */
import { describe, expect, it } from "vitest";
import type { RetentionPolicy } from "../../../src/model/retention.ts";
import { dmarcXml, NOW } from "../../support/reading.ts";
import { type ContractBox, DAY, mailWithXml } from "./box.ts";

const EXPIRING: RetentionPolicy = {
  raw: DAY,
  failedRaw: DAY,
  records: DAY,
  feedback: DAY,
  mails: 30 * DAY,
  sums: 1300 * DAY,
};

export function upkeepContract(given: () => ContractBox): void {
  describe("upkeep", () => {
    it("deletes raw mail and records that have expired, and keeps the day sums", async () => {
      await given().intake([mailWithXml(dmarcXml()), mailWithXml("")]);
      const keep: RetentionPolicy = {
        raw: 30 * DAY,
        failedRaw: 90 * DAY,
        records: 4000 * DAY,
        feedback: 30 * DAY,
        mails: 4000 * DAY,
        sums: 8000 * DAY,
      };
      const all = (at: number, policy = keep): Promise<void> => given().expire(at, policy);
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

    it("mails and reports expire, their sums stay, and a late copy is a duplicate as long as they do", async () => {
      const sent = mailWithXml(dmarcXml("a"));
      await given().intake([sent]);
      await given().expire(NOW + 31 * DAY, EXPIRING);
      expect(await given().questions.receivedMail("m1")).toBeUndefined();
      expect(await given().questions.report("r1")).toBeUndefined();
      expect(await given().total()).toBe(2);
      const late = { ...sent, hints: { ...sent.hints, receivedAt: NOW + 32 * DAY } };
      expect(await given().intake([late])).toMatchObject([{ outcome: "duplicate" }]);
      expect(await given().total()).toBe(2);
      await given().expire(NOW + 4000 * DAY, EXPIRING);
      expect(await given().total()).toBe(0);
    });

    it("tells what has expired before it is deleted, and nothing afterwards", async () => {
      await given().intake([mailWithXml(dmarcXml("a")), mailWithXml("")]);
      const rows = { mails: 400 * DAY, sums: 4000 * DAY };
      const policy = { raw: DAY, failedRaw: 2 * DAY, records: 3 * DAY, feedback: DAY, ...rows };
      const expirable = (days: number) => given().questions.expirable(NOW + days * DAY + 1, policy);
      expect(await expirable(0)).toMatchObject({ raw_mails: 0, reports_with_records: 0 });
      expect(await expirable(1)).toMatchObject({ raw_mails: 1, reports_with_records: 0 });
      expect(await expirable(3)).toMatchObject({ raw_mails: 2, reports_with_records: 1 });
      await given().expire(NOW + 3 * DAY + 1, policy);
      expect(await expirable(3)).toMatchObject({ raw_mails: 0, reports_with_records: 0 });
    });
  });
}
