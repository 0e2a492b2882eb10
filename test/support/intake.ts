/** Intake requests for tests of the archive. */
import type { ReceivePolicy } from "../../src/model/counting.ts";
import type { Intake } from "../../src/store/archive/intake.ts";
import { NOW } from "./reading.ts";

const FLAG = "flag" as const;

/** A policy that refuses nothing and verifies nothing. */
export const POLICY: ReceivePolicy = {
  domains: [],
  requireAuth: { dmarc: FLAG, tls: FLAG, failure: FLAG, arf: FLAG, dsn: FLAG },
  countUnverified: ["dmarc", "failure", "arf", "dsn"],
  verifies: false,
};

export const intakeOf = (raw: Uint8Array, changed: Partial<Intake> = {}): Intake => ({
  raw,
  hints: { form: "mail", fileName: null, receivedAt: NOW },
  source: "smtp",
  envelopeFrom: "d@reporter.example",
  envelopeTo: ["dmarc@example.com"],
  remoteIp: "192.0.2.9",
  remoteName: null,
  tls: null,
  auth: { verdict: "none", domain: null, dkimDomains: [], tls: "none", by: null, detail: null },
  kinds: [],
  ...changed,
});
