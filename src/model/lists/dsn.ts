/** Received delivery status notifications, recipient by recipient (RFC 3464). */
import { flag, orNull, text, time } from "./field.ts";
import { ARCHIVE_FILTERS } from "./filter.ts";
import { defineList } from "./list.ts";
import { REPORT_FIELDS, ROW_KEY } from "./report-fields.ts";

const { domain, org, since, until, warning } = ARCHIVE_FILTERS;

export const DSN = defineList({
  name: "dsn",
  help: "received delivery status notifications, recipient by recipient",
  store: "archive",
  reading: "pages",
  order: "newest notification first, its recipients in their order",
  cursor: ROW_KEY,
  fields: {
    ...REPORT_FIELDS,
    arrival_at: time("when the message arrived at the MTA, else the date of the notification"),
    reporting_mta: orNull(text("MTA that reports")),
    original_envelope_id: orNull(text("envelope id of the message")),
    original_message_id: orNull(text("Message-ID of the returned message")),
    structured: flag("whether it has the fields of RFC 3464; false: they were found in its text"),
    recipient: orNull(text("final recipient")),
    original_recipient: orNull(text("original recipient")),
    action: orNull(text("failed, delayed, delivered, relayed, expanded, unknown")),
    status: orNull(text("enhanced status code")),
    remote_mta: orNull(text("MTA that replied")),
    diagnostic: orNull(text("reply of that MTA")),
    last_attempt_at: orNull(time("last delivery attempt")),
    will_retry_until: orNull(time("end of the delivery attempts")),
  },
  filters: { domain, org, since, until, warning },
  columns: [
    { title: "REPORT", field: "id" },
    { title: "ARRIVAL", field: "arrival_at", drop: 1 },
    { title: "RECIPIENT", field: "recipient", cut: 20 },
    { title: "ACTION", field: "action" },
    { title: "STATUS", field: "status" },
    { title: "REMOTE MTA", field: "remote_mta", cut: 16, drop: 5 },
    { title: "DIAGNOSTIC", field: "diagnostic", cut: 20, drop: 2 },
    { title: "REPORTING MTA", field: "reporting_mta", cut: 16, drop: 6 },
    { title: "MESSAGE-ID", field: "original_message_id", drop: 8 },
    { title: "RECEIVED", field: "received_at", drop: 9 },
  ],
  commands: [{ words: ["show", "dsn"] }],
});
