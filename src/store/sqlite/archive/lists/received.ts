/** Accepted mails and imported files. */
import { RECEIVED } from "../../../../model/lists/received.ts";
import type { ReceivedMail } from "../../../archive/reader.ts";
import { mailWhere } from "../select.ts";
import { type Ask, numberOf } from "../statement-cache.ts";
import { type ListSource, pageOf, rowDecoder, type SourceTools } from "./source.ts";

const MAIL = `SELECT 'm' || mail.id AS id, received_at, source, envelope_from, envelope_to, remote_ip,
    header_from AS "from", subject, message_id, file_name, size, coalesce(outcome, 'spooled') AS outcome, reason, detail,
    auth, auth_domain, auth_more ->> 'by' AS auth_by, auth_more ->> 'detail' AS auth_detail,
    (SELECT json_group_array('r' || id) FROM report WHERE mail_id = mail.id) AS reports,
    EXISTS (SELECT 1 FROM raw WHERE mail_id = mail.id) AS raw_kept
  FROM mail`;

const toMail = rowDecoder(RECEIVED.fields);

export const makeReceived =
  ({ ask, domainId }: SourceTools): ListSource<"received"> =>
  (filter, { limit, after }) => {
    const { sql, values } = mailWhere(filter, domainId(filter.domain));
    const before = after === undefined ? Number.MAX_SAFE_INTEGER : (numberOf(after, "m") ?? 0);
    const rows = ask.all<object>(
      `${MAIL} WHERE ${sql} AND mail.id < ? ORDER BY mail.id DESC LIMIT ?`,
      ...values,
      before,
      limit + 1,
    );
    return pageOf(rows.map(toMail), limit);
  };

/** One mail. */
export function receivedMail({ one }: Ask, id: string): ReceivedMail | undefined {
  const row = one<object>(`${MAIL} WHERE mail.id = ?`, numberOf(id, "m") ?? -1);
  return row && toMail(row);
}
