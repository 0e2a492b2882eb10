/**
 * The elements of DMARC aggregate reports (RFC 9990 A, RFC 7489 C and older drafts) as a table: in which context
 * which name opens another context, or is a leaf whose text is wanted. Everything else is skipped with its content.
 */
import { type NameTable, nameTable } from "../xml/names.ts";

/** Contexts: elements that hold elements. */
export const CONTEXTS = [
  "document",
  "feedback",
  "metadata",
  "dates",
  "policy",
  "record",
  "row",
  "evaluated",
  "reason",
  "identifiers",
  "auth",
  "dkim",
  "spf",
] as const;
export type Context = (typeof CONTEXTS)[number];

/** Context → child element → context (`>name`) or leaf (its field). */
const CHILDREN: Readonly<Record<Context, Readonly<Record<string, string>>>> = {
  // some reporters wrap it, or a part of it, in a stray <xs:schema>
  document: { feedback: ">feedback", schema: ">document" },
  feedback: {
    schema: ">feedback",
    version: "version",
    report_metadata: ">metadata",
    policy_published: ">policy",
    record: ">record",
  },
  metadata: {
    org_name: "org_name",
    email: "email",
    extra_contact_info: "extra_contact_info",
    report_id: "report_id",
    date_range: ">dates",
    error: "error",
    generator: "generator",
  },
  dates: { begin: "begin", end: "end" },
  policy: {
    domain: "policy_domain",
    adkim: "adkim",
    aspf: "aspf",
    p: "p",
    sp: "sp",
    np: "np",
    pct: "pct",
    fo: "fo",
    testing: "testing",
    t: "testing",
    discovery_method: "discovery_method",
    version_published: "version_published",
    rf: "rf",
    ri: "ri",
    psd: "psd",
  },
  record: { row: ">row", identifiers: ">identifiers", identities: ">identifiers", auth_results: ">auth" },
  row: { source_ip: "source_ip", count: "count", policy_evaluated: ">evaluated" },
  evaluated: { disposition: "disposition", dkim: "eval_dkim", spf: "eval_spf", reason: ">reason" },
  identifiers: { header_from: "header_from", envelope_from: "envelope_from", envelope_to: "envelope_to" },
  reason: { type: "reason_type", comment: "reason_comment" },
  auth: { dkim: ">dkim", spf: ">spf" },
  dkim: {
    domain: "auth_domain",
    selector: "auth_selector",
    result: "auth_result",
    human_result: "auth_human",
  },
  spf: {
    domain: "auth_domain",
    scope: "auth_scope",
    result: "auth_result",
    human_result: "auth_human",
  },
};

const NAMES = [...new Set(Object.values(CHILDREN).flatMap((children) => Object.keys(children)))];
export const DMARC_NAMES: NameTable = nameTable(NAMES);
/** The number that the tokenizer gives a name. */
export const nameId = (name: string): number => NAMES.indexOf(name) + 1;

/** Leaf fields, numbered from 1 for fast switching; those of the head come first. */
export const FIELDS: readonly string[] = [
  ...new Set(
    Object.values(CHILDREN).flatMap((children) => Object.values(children).filter((c) => !c.startsWith(">"))),
  ),
];
export const field = (name: string): number => FIELDS.indexOf(name) + 1;
/** Fields with this number and higher ones belong to a record. */
export const FIRST_OF_RECORD = field("source_ip");
/** From here on they belong to a reason or an authentication result. */
export const FIRST_OF_PART = field("reason_type");

/** [context][name number]: > 0 = context + 1, < 0 = -(field number), 0 = not known here. */
export const TRANSITIONS: readonly (readonly number[])[] = CONTEXTS.map((context) => {
  const row = new Array<number>(NAMES.length + 1).fill(0);
  for (const [name, to] of Object.entries(CHILDREN[context])) {
    row[nameId(name)] = to.startsWith(">") ? CONTEXTS.indexOf(to.slice(1) as Context) + 1 : -field(to);
  }
  return row;
});
