/** The JSON lines of feeds: DMARC evaluations and TLS sessions, as mail servers send them. */
import { z } from "zod";
import { TLS_RESULT_TYPES } from "../model/evaluation.ts";

const text = (most: number) => z.string().max(most);
const policyWord = z.enum(["none", "quarantine", "reject"]);
const name = text(1000);

const dkimResult = z.strictObject({
  domain: name,
  selector: text(255).default(""),
  result: text(32),
  human_result: text(4096).nullish(),
});

const spfResult = z.strictObject({
  domain: name,
  result: text(32),
  scope: z.enum(["mfrom", "helo"]).default("mfrom"),
  human_result: text(4096).nullish(),
});

const common = {
  v: z.literal(1),
  id: text(256).min(1).optional(),
  time: z.number().int().min(0).max(4_102_444_800),
  /** Where the mail went, as an address; only to see whether it is one of ours. */
  recipient: name.nullish(),
  optional: z.boolean().default(false),
};

export const dmarcLine = z.strictObject({
  ...common,
  kind: z.literal("dmarc"),
  source_ip: text(100),
  header_from: name,
  envelope_from: name.nullish(),
  envelope_to: name.nullish(),
  policy: z.strictObject({
    domain: name,
    p: policyWord,
    sp: policyWord.nullish(),
    np: policyWord.nullish(),
    adkim: z.enum(["r", "s"]).default("r"),
    aspf: z.enum(["r", "s"]).default("r"),
    fo: text(16).default("0"),
    t: z.enum(["y", "n"]).default("n"),
    psd: z.enum(["y", "n", "u"]).default("u"),
    discovery: z.enum(["psl", "treewalk"]).nullish(),
    rua: z.array(text(1000)).max(100).default([]),
    ruf: z.array(text(1000)).max(100).default([]),
  }),
  disposition: z.enum(["none", "pass", "quarantine", "reject"]),
  dkim_aligned: z.boolean(),
  spf_aligned: z.boolean(),
  reasons: z
    .array(z.strictObject({ type: text(64), comment: text(4096).nullish() }))
    .max(100)
    .default([]),
  dkim: z.array(dkimResult).max(1000).default([]),
  spf: spfResult.nullish(),
  count: z.number().int().min(1).max(1_000_000_000).default(1),
  spam: z.boolean().default(false),
});

const sessions = z.number().int().min(0).max(1_000_000_000);

export const tlsLine = z.strictObject({
  ...common,
  kind: z.literal("tls"),
  domain: name,
  record: text(4096).nullish(),
  policies: z
    .array(
      z.strictObject({
        type: z.enum(["sts", "tlsa", "no-policy-found"]),
        domain: name.nullish(),
        strings: z.array(text(4096)).max(100).default([]),
        mx: z.array(name).max(100).default([]),
        success: sessions.default(0),
        failure: sessions.default(0),
        details: z
          .array(
            z.strictObject({
              result: z.enum(TLS_RESULT_TYPES),
              sending_ip: text(100).nullish(),
              mx: name.nullish(),
              helo: text(1000).nullish(),
              receiving_ip: text(100).nullish(),
              info: text(4096).nullish(),
              reason: text(4096).nullish(),
              count: sessions.default(1),
            }),
          )
          .max(1000)
          .default([]),
      }),
    )
    .min(1)
    .max(100),
  report: z.boolean().default(false),
});

export type DmarcLine = z.infer<typeof dmarcLine>;
export type TlsLine = z.infer<typeof tlsLine>;
