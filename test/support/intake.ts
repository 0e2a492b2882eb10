/** Mails on their way into the archive, and how tests read them. */
import type { Intake, ReceivePolicy } from "../../src/store/archive.ts";
import { NOW } from "./reading.ts";

const FLAG = "flag" as const;

/** Nothing is refused, and nothing is verified. */
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
