/** One report with everything that was read of it: the members of `GET /v1/reports/ID` besides those of the list. */
import type { DmarcHead, DsnReport, FeedbackReport, TlsHead } from "../report.ts";
import {
  type Fields,
  flag,
  map,
  number,
  object,
  objects,
  orNull,
  pairs,
  rowEncoder,
  rowReader,
  text,
  texts,
  time,
  type WireRow,
  word,
} from "./field.ts";

/** Where the report lay in its mail. */
export const PART_FIELDS = {
  name: orNull(text("file name of the attachment or archive entry")),
  media_type: orNull(text("declared media type")),
  size: orNull(number("bytes before decoding and decompression")),
};

const LANGUAGE_TEXT = { text: text("text"), lang: orNull(text("language")) };
const DISPOSITIONS = ["none", "quarantine", "reject"] as const;
const MODES = ["r", "s"] as const;

const IDENTITY_FIELDS = {
  org_name: text("reporting organisation"),
  email: orNull(text("address of the reporter")),
  report_id: text("report id"),
  report_id_raw: orNull(text("report id as sent, where it differs")),
  begin: time("first second that it covers"),
  end: time("last second that it covers"),
};

const DMARC_HEAD = {
  kind: word(["dmarc"], "kind of report"),
  ...IDENTITY_FIELDS,
  extra_contact_info: orNull(object(LANGUAGE_TEXT, "further contact information")),
  errors: objects(LANGUAGE_TEXT, "errors that the reporter notes"),
  generator: orNull(text("software of the reporter")),
  version: orNull(text("version of the schema")),
  namespace: orNull(text("XML namespace")),
  flavour: word(["draft", "rfc7489", "rfc9990"], "schema that it follows"),
  policy: object(
    {
      domain: text("policy domain"),
      adkim: orNull(word(MODES, "DKIM alignment mode")),
      aspf: orNull(word(MODES, "SPF alignment mode")),
      p: orNull(word(DISPOSITIONS, "policy of the domain")),
      sp: orNull(word(DISPOSITIONS, "policy of subdomains")),
      np: orNull(word(DISPOSITIONS, "policy of subdomains that do not exist")),
      pct: orNull(number("percentage to which the policy applies")),
      fo: orNull(text("failure reporting options")),
      testing: orNull(word(["y", "n"], "test mode")),
      discovery_method: orNull(word(["psl", "treewalk"], "how the policy was found")),
      version_published: orNull(text("version of the policy record")),
      raw: orNull(map("what was sent, by field, where the value was normalised")),
    },
    "published policy",
  ),
  extensions: orNull(text("extension elements, as XML")),
} satisfies Fields;

const TLS_HEAD = { kind: word(["tls"], "kind of report"), ...IDENTITY_FIELDS } satisfies Fields;

const FEEDBACK_HEAD = {
  kind: word(["failure", "arf"], "kind of report"),
  feedback_type: text("feedback type"),
  feedback_type_raw: orNull(text("feedback type as sent, where it differs")),
  user_agent: orNull(text("software of the reporter")),
  version: orNull(text("version of the format")),
  arrival_date: time("when the reported message arrived"),
  source_ip: orNull(text("address that the message came from")),
  source_port: orNull(number("port that the message came from")),
  incidents: number("messages that the report stands for"),
  reported_domains: texts("domains that are reported"),
  reported_uris: texts("URIs that are reported"),
  reporting_mta: orNull(text("MTA that reports")),
  original_envelope_id: orNull(text("envelope id of the message")),
  original_mail_from: orNull(text("envelope sender of the message")),
  original_rcpt_to: texts("envelope recipients of the message"),
  auth_failure: orNull(text("which authentication failed")),
  identity_alignment: orNull(texts("identities that were aligned")),
  delivery_result: orNull(text("what became of the message")),
  delivery_result_raw: orNull(text("what became of the message, as sent, where it differs")),
  dkim_domain: orNull(text("d= of the DKIM signature")),
  dkim_identity: orNull(text("i= of the DKIM signature")),
  dkim_selector: orNull(text("s= of the DKIM signature")),
  spf_dns: texts("SPF records that were used"),
  authentication_results: texts("Authentication-Results of the message"),
  fields: pairs("all fields as sent, in their order"),
  sample: orNull(
    object(
      {
        from: orNull(text("header field From")),
        to: orNull(text("header field To")),
        subject: orNull(text("header field Subject")),
        message_id: orNull(text("header field Message-ID")),
        date: orNull(text("header field Date, as sent")),
        headers: text("header, up to the limit"),
        body: orNull(text("body, up to the limit; null: none is kept")),
      },
      "the reported message",
    ),
  ),
} satisfies Fields;

const DSN_HEAD = {
  kind: word(["dsn"], "kind of report"),
  reporting_mta: orNull(text("MTA that reports")),
  original_envelope_id: orNull(text("envelope id of the message")),
  arrival_date: orNull(time("when the message arrived at that MTA")),
  original_message_id: orNull(text("Message-ID of the returned message")),
  structured: flag("whether it has the fields of RFC 3464; false: they were found in its text"),
  recipients: objects(
    {
      original_recipient: orNull(text("original recipient")),
      final_recipient: text("final recipient"),
      action: word(["failed", "delayed", "delivered", "relayed", "expanded", "unknown"], "what happened"),
      status: orNull(text("enhanced status code")),
      remote_mta: orNull(text("MTA that replied")),
      diagnostic: orNull(text("reply of that MTA")),
      last_attempt: orNull(time("last delivery attempt")),
      will_retry_until: orNull(time("end of the delivery attempts")),
    },
    "recipients",
  ),
  date: time("arrival of the message, else the date of the notification"),
} satisfies Fields;

/** The head of a report, by its kind. */
export const HEAD_FIELDS = {
  dmarc: DMARC_HEAD,
  tls: TLS_HEAD,
  failure: FEEDBACK_HEAD,
  arf: FEEDBACK_HEAD,
  dsn: DSN_HEAD,
} as const;

/** One policy of a TLS report with its failure details (RFC 8460 4.4). */
export const TLS_POLICY_FIELDS = {
  policy_type: word(["sts", "tlsa", "no-policy-found", "unknown"], "policy type"),
  policy_type_raw: orNull(text("policy type as sent, where it differs")),
  policy_strings: texts("policy as the reporter found it, line by line"),
  policy_domain: orNull(text("domain of the policy")),
  mx_hosts: texts("MX host patterns of the policy"),
  successes: number("successful sessions"),
  failures: number("failed sessions"),
  details: objects(
    {
      result_type: text("result type"),
      sending_mta_ip: orNull(text("address of the sending MTA")),
      receiving_mx_hostname: orNull(text("name of the receiving MX host")),
      receiving_mx_helo: orNull(text("HELO name of the receiving MX host")),
      receiving_ip: orNull(text("address of the receiving MX host")),
      failed_sessions: number("failed sessions"),
      additional_information: orNull(text("further information, or a URI of it")),
      failure_reason_code: orNull(text("reason code of the failure")),
    },
    "failed sessions by their circumstances",
  ),
};

/** Makes the function that turns an object of the model into its form on the wire. */
function viewOf<F extends Fields>(fields: F): (model: object) => WireRow<F> {
  const read = rowReader(fields);
  const encode = rowEncoder(fields);
  return (model) => encode(read(model));
}

const HEAD_VIEWS = {
  dmarc: viewOf(DMARC_HEAD),
  tls: viewOf(TLS_HEAD),
  failure: viewOf(FEEDBACK_HEAD),
  arf: viewOf(FEEDBACK_HEAD),
  dsn: viewOf(DSN_HEAD),
} as const;

/** The head of a report on the wire. */
export const headView = (head: DmarcHead | TlsHead | FeedbackReport | DsnReport) =>
  HEAD_VIEWS[head.kind](head);
/** A policy of a TLS report on the wire. */
export const policyView = viewOf(TLS_POLICY_FIELDS);
/** Where a report lay in its mail, on the wire. */
export const partView = viewOf(PART_FIELDS);
