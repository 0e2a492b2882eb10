/** What is stored and counted of mail that was authenticated, or was not. */
import { describe, expect, it } from "vitest";
import type { Intake } from "../../../src/store/archive/intake.ts";
import { intakeOf, POLICY } from "../../support/intake.ts";
import { dmarcXml, mail, tlsJson } from "../../support/reading.ts";
import { type ContractBox, mailWithXml } from "./box.ts";

export function authenticationContract(given: () => ContractBox): void {
  describe("authentication", () => {
    const tlsMail = (auth: Partial<Intake["auth"]> = {}): Intake =>
      intakeOf(mail([{ type: "application/tlsrpt+json", name: "t.json", body: tlsJson() }]), {
        auth: {
          verdict: "none",
          domain: null,
          dkimDomains: [],
          tls: "none",
          by: "own",
          detail: null,
          ...auth,
        },
      });

    const sessions = async (): Promise<number> =>
      (await given().rows("domains")).reduce((n, d) => n + d.tls_sessions, 0);

    const spfOnly = { verdict: "pass", domain: "reporter.example", tls: "fail" } as const;

    const signed = { verdict: "pass", domain: "reporter.example", tls: "pass" } as const;

    it("leaves TLS reports without a signature of their domain out of the figures (RFC 8460 3)", async () => {
      given().setPolicy({ ...POLICY, verifies: true });
      await given().intake([tlsMail(spfOnly)]);
      expect(await given().questions.report("r1")).toMatchObject({
        auth: "fail",
        auth_domain: "reporter.example",
        counted: false,
      });
      expect(await given().questions.receivedMail("m1")).toMatchObject({ auth: "pass", auth_by: "own" });
      expect(await sessions()).toBe(0);
      // the signed one replaces the other
      expect(await given().intake([tlsMail(signed)])).toMatchObject([{ outcome: "imported" }]);
      expect(await given().questions.report("r2")).toMatchObject({ auth: "pass", counted: true });
      expect(await given().questions.report("r1")).toBeUndefined();
      expect(await sessions()).toBe(3);
      expect(await given().intake([tlsMail(spfOnly)])).toMatchObject([{ outcome: "duplicate" }]);
      expect(await given().stats()).toMatchObject({ "archive.auth.pass": 3, "archive.report.tls": 1 });
      expect((await given().stats())["archive.uncounted.tls"]).toBeUndefined();
    });

    for (const [name, policy, source, wanted] of [
      ["unless told otherwise", { countUnverified: ["tls"] }, "smtp", 3],
      [
        "unless authentication is off for them",
        { requireAuth: { ...POLICY.requireAuth, tls: "off" } },
        "smtp",
        3,
      ],
      ["unless nothing is verified", { verifies: false }, "smtp", 3],
      ["unless an operator imports them", {}, "import", 3],
      ["and over LMTP too", {}, "lmtp", 0],
    ] as const) {
      it(`leaves unsigned TLS reports out, ${name}`, async () => {
        given().setPolicy({ ...POLICY, verifies: true, ...policy });
        await given().intake([{ ...tlsMail(), source }]);
        expect(await sessions()).toBe(wanted);
      });
    }

    it("refuses by kind what is not authenticated, and keeps the mail", async () => {
      given().setPolicy({ ...POLICY, verifies: true, requireAuth: { ...POLICY.requireAuth, tls: "reject" } });
      const [dmarc, tls, good] = await given().intake([
        mailWithXml(dmarcXml()),
        tlsMail(spfOnly),
        tlsMail(signed),
      ]);
      expect([dmarc?.outcome, tls?.outcome, good?.outcome]).toEqual([
        "imported",
        "unauthenticated",
        "imported",
      ]);
      expect(await given().questions.receivedMail("m2")).toMatchObject({
        outcome: "unauthenticated",
        reason: "unauthenticated",
        raw_kept: true,
        reports: [],
      });
      expect(await sessions()).toBe(3);
    });

    it("can leave unverified DMARC reports out", async () => {
      given().setPolicy({ ...POLICY, verifies: true, countUnverified: [] });
      await given().intake([mailWithXml(dmarcXml())]);
      expect(await given().questions.report("r1")).toMatchObject({ counted: false, messages: 2 });
      expect(await given().total()).toBe(0);
    });
  });
}
