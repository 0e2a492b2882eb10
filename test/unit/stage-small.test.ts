/** Parsing a mail only when it is little work. */
import { describe, expect, it } from "vitest";
import { SMALL_MAIL, stageMail, stageSmall } from "../../src/format/mail/stage.ts";
import type { ReadHints } from "../../src/model/reading.ts";
import { hostileInputs } from "../support/hostile.js";
import { LIMITS, NOW } from "../support/reading.ts";
import { dmarcMail } from "../support/report-mail.js";

const HINTS: ReadHints = { form: "mail", fileName: null, receivedAt: NOW };
const small = (raw: Uint8Array, hints = HINTS) => stageSmall(raw, hints, LIMITS, () => 0);
const whole = (raw: Uint8Array, hints = HINTS) => stageMail(raw, hints, LIMITS, () => 0);

describe("a mail that is little work", () => {
  it("gives what a parser without the bound gives", () => {
    for (const records of [1, 10, 250]) {
      const raw = dmarcMail({ id: `r-${records}`, records });
      expect(small(raw)).toEqual(whole(raw));
    }
    const junk = Buffer.from("Subject: hello\r\n\r\nno report\r\n");
    expect(small(junk)).toEqual(whole(junk));
  });

  it("a small mail with a large report kept others waiting: it is not parsed", () => {
    const raw = dmarcMail({ id: "large", records: 3000 });
    expect(raw.byteLength).toBeLessThan(SMALL_MAIL);
    expect(small(raw)).toBeUndefined();
    expect(small(Buffer.alloc(SMALL_MAIL + 1, "x"))).toBeUndefined();
  });

  it("a limit of the configuration that is lower holds: it is the result", () => {
    const raw = dmarcMail({ id: "large", records: 3000 });
    const staged = stageSmall(raw, HINTS, { ...LIMITS, decompressed_size: 65_536 }, () => 0);
    expect(staged?.items).toMatchObject([{ ok: false, reason: "too-large" }]);
  });

  it("hostile mail gives its own result or none, never a different one", () => {
    for (const { form, fileName, make } of hostileInputs()) {
      const raw = make();
      if (raw.byteLength > SMALL_MAIL) continue;
      const hints: ReadHints = { form, fileName, receivedAt: NOW };
      const staged = small(raw, hints);
      if (staged) expect(staged).toEqual(whole(raw, hints));
    }
  });
});
