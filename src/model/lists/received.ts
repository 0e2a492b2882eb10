/** Accepted mails and imported files. */
import { OUTCOMES, REASONS, type Reason } from "../outcome.ts";
import { flag, number, orNull, text, texts, time, word } from "./field.ts";
import { ARCHIVE_FILTERS } from "./filter.ts";
import { defineList } from "./list.ts";
import { AUTH_VERDICTS } from "./report-fields.ts";

/** The first ids, and how many more there are. */
const someIds = (ids: readonly string[]): string =>
  ids.length <= 2 ? ids.join(",") : `${ids[0]} and ${ids.length - 1} more`;

const { outcome, reason, kind, domain, org, warning, source, since, until } = ARCHIVE_FILTERS;

export const RECEIVED = defineList({
  name: "received",
  alias: "mails",
  help: "accepted mails and imported files with their outcome",
  store: "archive",
  reading: "pages",
  order: "newest first",
  cursor: /^m\d{1,15}$/,
  fields: {
    id: text("id of the mail, such as m42"),
    received_at: time("when it was accepted or imported"),
    source: text("how it came: smtp, lmtp, import"),
    envelope_from: orNull(text("envelope sender")),
    envelope_to: texts("envelope recipients"),
    remote_ip: orNull(text("address of the SMTP client")),
    from: orNull(text("header field From")),
    subject: orNull(text("header field Subject")),
    message_id: orNull(text("header field Message-ID")),
    file_name: orNull(text("name of the imported file")),
    size: number("bytes"),
    outcome: word([...OUTCOMES, "spooled"], "what became of it; spooled: not parsed yet"),
    reason: orNull(word(Object.keys(REASONS) as Reason[], "why it was not, or not wholly, imported")),
    detail: orNull(text("place and value of the reason")),
    auth: word(AUTH_VERDICTS, "result of message authentication"),
    auth_domain: orNull(text("author domain that was authenticated")),
    auth_by: orNull(text("who authenticated it: own, or the authserv-id of a trusted server")),
    auth_detail: orNull(text("what message authentication found")),
    reports: texts("ids of the reports that it contained"),
    raw_kept: flag("whether its bytes are still stored"),
  },
  filters: {
    outcome,
    reason,
    kind,
    domain,
    org,
    warning,
    source: { ...source, help: "address of the SMTP client" },
    since,
    until,
  },
  columns: [
    { title: "MAIL", field: "id" },
    { title: "RECEIVED", field: "received_at", drop: 1 },
    { title: "FROM", cut: 20, drop: 2, text: (m) => m.from ?? m.envelope_from ?? m.file_name ?? "" },
    { title: "OUTCOME", field: "outcome" },
    { title: "REASON", field: "reason" },
    { title: "REPORTS", field: "reports", drop: 6, text: (m) => someIds(m.reports) },
    { title: "AUTH", field: "auth", drop: 7 },
    { title: "AUTH DOMAIN", field: "auth_domain", cut: 16, drop: 8 },
    { title: "SIZE", field: "size", drop: 9 },
  ],
  commands: [
    {
      words: ["show", "received"],
      instead: { option: "reports", list: "reports", help: "list reports instead of mails" },
    },
  ],
});
