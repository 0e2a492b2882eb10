/** Mail that is stored raw and parsed later. */
import { describe, expect, it } from "vitest";
import { stage } from "../../support/parsing-archive.ts";
import { dmarcXml } from "../../support/reading.ts";
import { type ContractBox, mailWithXml } from "./box.ts";

export function spoolContract(given: () => ContractBox): void {
  describe("the spool", () => {
    it("parses spooled mail later, with the same result as at once", async () => {
      expect(
        await given().spool(mailWithXml(dmarcXml("a")), mailWithXml(dmarcXml("a")), mailWithXml("")),
      ).toEqual([1, 2, 3]);
      expect(await given().parsing.unparsed()).toBe(3);
      expect(await given().questions.receivedMail("m1")).toMatchObject({
        outcome: "spooled",
        raw_kept: true,
      });
      expect(await given().total()).toBe(0);
      expect((await given().parsing.parseSpooled(stage, 1)).map((r) => r.outcome)).toEqual(["imported"]);
      expect((await given().parsing.parseSpooled(stage, 9)).map((r) => r.outcome)).toEqual([
        "duplicate",
        "invalid",
      ]);
      expect(await given().parsing.parseSpooled(stage, 9)).toEqual([]);
      expect(await given().parsing.unparsed()).toBe(0);
      expect(await given().questions.receivedMail("m2")).toMatchObject({ raw_kept: false });
      expect(await given().total()).toBe(2);
      expect(await given().stats()).toMatchObject({ "archive.mail": 3, "archive.outcome.imported": 1 });
    });

    it("gives small spooled mails together; alone a large one, and one with an attempt that did not end", async () => {
      const large = mailWithXml(`${dmarcXml("large")}<!--${"x".repeat(300_000)}-->`);
      await given().spool(
        ...[..."abc"].map((id) => mailWithXml(dmarcXml(id))),
        large,
        mailWithXml(dmarcXml("d")),
      );
      const groups: number[][] = [];
      const readSome = async () => {
        const results = await given().parsing.parseSpooled(stage, 8);
        groups.push(results.map(({ mailId }) => mailId));
      };
      await readSome();
      await given().put.load(4); // asking for a mail is no attempt
      await readSome();
      expect(await given().put.isNextSuspect()).toBe(false);
      expect(await given().put.takeSpooled(1)).toMatchObject([{ mailId: 5, spooled: true }]);
      await given().reopen(); // the process ended meanwhile
      await given().spool(mailWithXml(dmarcXml("e")), mailWithXml(dmarcXml("f")));
      expect(await given().put.isNextSuspect()).toBe(true);
      for (let i = 0; i < 3; i++) await readSome();
      expect(groups).toEqual([[1, 2, 3], [4], [5], [6, 7], []]);
      expect(await given().total()).toBe(14);
    });

    it("stores spooled and parsed mails of one batch, and counts the unparsed ones", async () => {
      const accepted = await given().parsing.intake(
        ["a", "b", "c"].map((id, i) => ({ intake: mailWithXml(dmarcXml(id)), parseNow: i === 1 })),
      );
      expect(accepted.map((one) => "spooled" in one && one.spooled)).toEqual([true, false, true]);
      const spooled = await given().questions.list("received", { outcome: "spooled" }, { limit: 10 });
      expect(spooled.items.map(({ id }) => id).sort()).toEqual(["m1", "m3"]);
      expect([await given().parsing.unparsed(), await given().total()]).toEqual([2, 2]);
      expect(await given().stats()).toMatchObject({ "archive.mail": 3, "archive.unread": 2 });
      await given().reopen();
      expect(await given().parsing.unparsed()).toBe(2);
      await given().parsing.reparse([1]); // by hand, before the others
      expect(await given().parsing.unparsed()).toBe(1);
      await given().parsing.parseSpooled(stage, 8);
      expect([await given().parsing.unparsed(), await given().total()]).toEqual([0, 6]);
    });

    it("keeps a spooled mail raw when a bug stops the parser, and stores those that are parsed with it", async () => {
      await given().spool(...["a", "b", "c"].map((id) => mailWithXml(dmarcXml(id))));
      const results = await given().parsing.parseSpooled((raw, hints) => {
        const reading = stage(raw, hints);
        if (reading.items.some((item) => item.ok && item.figures.reportId === "b")) throw new Error("bug");
        return reading;
      }, 8);
      expect(results.map((r) => r.reason)).toEqual([null, "internal", null]);
      expect(await given().questions.receivedMail("m2")).toMatchObject({
        outcome: "invalid",
        raw_kept: true,
      });
      expect(await given().total()).toBe(4);
    });

    it("sets a spooled mail aside after three attempts that did not end", async () => {
      await given().spool(mailWithXml(dmarcXml()));
      for (let n = 0; n < 3; n++) {
        expect(await given().put.takeSpooled(8)).toMatchObject([{ mailId: 1, intake: {} }]);
        await given().reopen();
      }
      expect(await given().parsing.parseSpooled(stage, 1)).toMatchObject([
        { outcome: "invalid", reason: "internal" },
      ]);
      expect(await given().questions.receivedMail("m1")).toMatchObject({
        outcome: "invalid",
        raw_kept: true,
      });
    });

    it("does not count an attempt that was given back, in whatever number", async () => {
      await given().spool(mailWithXml(dmarcXml("a")));
      for (let n = 0; n < 5; n++) {
        expect(await given().put.takeSpooled(8)).toMatchObject([{ mailId: 1, intake: {} }]);
        await given().put.giveBack([1]);
      }
      await given().reopen();
      expect(await given().parsing.parseSpooled(stage, 8)).toMatchObject([{ outcome: "imported" }]);
    });

    it("gives the bytes and the envelope of a stored mail back as they came", async () => {
      const sent = { ...mailWithXml(dmarcXml()), kinds: ["dmarc" as const], remoteName: "mx.example" };
      await given().spool(sent);
      const loaded = await given().put.load(1);
      if (!loaded || !("intake" in loaded)) throw new Error("not loaded");
      const { raw, ...about } = loaded.intake;
      const { raw: bytes, ...expected } = sent;
      expect([Buffer.from(raw), about, loaded.spooled]).toEqual([Buffer.from(bytes), expected, true]);
      expect(await given().put.load(2)).toBeUndefined();
    });

    it("keeps a spooled mail that cannot be parsed raw, with the reason", async () => {
      await given().spool(mailWithXml(dmarcXml()));
      const content = { reason: "internal", detail: "it ended the parser" } as const;
      expect(await given().put.put([{ mailId: 1, content }])).toMatchObject([
        { wasSpooled: true, result: { outcome: "invalid", reason: "internal" } },
      ]);
      expect(await given().questions.receivedMail("m1")).toMatchObject({
        outcome: "invalid",
        detail: "it ended the parser",
        raw_kept: true,
      });
      expect(await given().put.spool()).toEqual({ unparsed: 0, oldest: null, newest: null });
      expect(await given().parsing.reparse([1], stage)).toMatchObject([{ outcome: "imported" }]);
    });
  });
}
