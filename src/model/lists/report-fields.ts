/** The fields that the lists of reports have in common. */
import { WARNINGS, type Warning } from "../outcome.ts";
import { REPORT_KINDS } from "../report.ts";
import { flag, number, objects, orNull, text, time, word } from "./field.ts";

/** Results of message authentication. */
export const AUTH_VERDICTS = ["pass", "fail", "none", "temperror"] as const;

const WARNING_CODES = Object.keys(WARNINGS) as Warning[];

/** A parse warning of a report. */
export const WARNING_FIELDS = {
  code: word(WARNING_CODES, "code of the parse warning"),
  count: number("how often it occurred"),
  detail: orNull(text("place and value of one occurrence")),
};

export const REPORT_FIELDS = {
  id: text("id of the report, such as r42"),
  mail_id: text("id of the mail that it came in"),
  kind: word(REPORT_KINDS, "kind of report"),
  org_name: text("reporting organisation"),
  report_id: text("report id that the reporter gave it"),
  policy_domain: orNull(text("policy domains, joined by commas")),
  begin: time("first second that it covers"),
  end: time("last second that it covers"),
  records: number("records; tls: policies; dsn: recipients"),
  messages: number("messages; tls: sessions; failure, arf: incidents; dsn: recipients"),
  pass_messages: orNull(number("messages that passed; tls: successful sessions")),
  received_at: time("when its mail was accepted or imported"),
  auth: word(AUTH_VERDICTS, "result of message authentication of its mail"),
  auth_domain: orNull(text("author domain that was authenticated")),
  foreign: flag("whether it is about a domain that is not ours"),
  counted: flag("whether it is in the figures"),
  warnings: objects(WARNING_FIELDS, "parse warnings"),
};

/** The verdict on the mail of a report, and why the report is left out of the figures. */
export function authFlags(report: {
  readonly auth: string;
  readonly foreign: boolean;
  readonly counted: boolean;
}): string {
  if (report.foreign) return `${report.auth},foreign`;
  return report.counted ? report.auth : `${report.auth},uncounted`;
}

/** The form of a cursor of lists with several rows for a report: r12.3 is the fourth row of report r12. */
export const ROW_KEY = /^r\d{1,15}\.\d{1,9}$/;
