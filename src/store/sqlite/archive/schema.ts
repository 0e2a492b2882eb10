/**
 * The schema of archive.db. Times are epoch seconds UTC; `day` is the begin of a UTC day. What intake writes is appended
 * as far as possible, so that a commit touches few pages; records are packed into blocks of their report. A released
 * migration is never edited, its comments included: a change of the schema is a new migration at the end.
 */
import type { Migration } from "../migrate.ts";

export const ARCHIVE_MIGRATIONS: readonly Migration[] = [
  {
    breaking: true,
    sql: `
-- names that recur, once each
CREATE TABLE domain (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  policy TEXT,                         -- p= as the newest DMARC report has it
  policy_begin INTEGER                 -- begin of that report
) STRICT;
-- organisations: key = name in lower case, name = as first seen
CREATE TABLE org (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, name TEXT NOT NULL) STRICT;
-- who reports about whom
CREATE TABLE domain_org (
  domain_id INTEGER NOT NULL,
  org_id INTEGER NOT NULL,
  reports INTEGER NOT NULL,
  first_begin INTEGER NOT NULL,        -- of all its reports
  last_end INTEGER NOT NULL,
  last_received INTEGER NOT NULL,
  PRIMARY KEY (domain_id, org_id)
) STRICT, WITHOUT ROWID;
-- source addresses, 4 or 16 bytes
CREATE TABLE source (id INTEGER PRIMARY KEY, ip BLOB NOT NULL UNIQUE) STRICT;
-- identifiers and authentication results of a record, as JSON; hash = first 16 bytes of its sha256
CREATE TABLE authset (id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, body TEXT NOT NULL) STRICT;
-- heads of DMARC and TLS reports without what differs from day to day (id, begin, end), as JSON
CREATE TABLE head (id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, body TEXT NOT NULL) STRICT;

-- every accepted mail and imported file
CREATE TABLE mail (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  received_at INTEGER NOT NULL,
  source TEXT NOT NULL,           -- smtp, lmtp, import
  envelope_from TEXT,
  envelope_to TEXT NOT NULL,      -- JSON array
  remote_ip TEXT,
  remote_name TEXT,
  tls TEXT,
  size INTEGER NOT NULL,
  form TEXT NOT NULL,             -- mail or file
  file_name TEXT,
  kinds TEXT,                     -- JSON array: kinds the recipient takes; NULL = any
  auth TEXT NOT NULL,             -- verdict
  auth_domain TEXT,
  auth_more TEXT,                 -- JSON: dkimDomains, tls, by, detail; NULL when there is nothing
  state TEXT NOT NULL,            -- spooled: to be read; done
  tries INTEGER NOT NULL DEFAULT 0, -- readings begun while spooled
  outcome TEXT,
  reason TEXT,
  detail TEXT,
  header_from TEXT,
  subject TEXT,
  message_id TEXT,
  mail_date INTEGER
) STRICT;
CREATE INDEX mail_spooled ON mail (id) WHERE state = 'spooled';
-- the bytes, apart, so that they can be deleted cheaply
CREATE TABLE raw (mail_id INTEGER PRIMARY KEY REFERENCES mail, body BLOB NOT NULL) STRICT;
-- parts of a mail that should have been a report, and duplicates
CREATE TABLE mail_item (
  mail_id INTEGER NOT NULL REFERENCES mail,
  seq INTEGER NOT NULL,
  kind TEXT,
  reason TEXT NOT NULL,
  detail TEXT,
  name TEXT,
  PRIMARY KEY (mail_id, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE report (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  mail_id INTEGER NOT NULL REFERENCES mail DEFERRABLE INITIALLY DEFERRED,
  kind TEXT NOT NULL,
  org_id INTEGER NOT NULL REFERENCES org,
  report_id TEXT NOT NULL,
  report_id_raw TEXT,                  -- as sent, where that differs
  domain_id INTEGER REFERENCES domain, -- the (first) policy domain
  domains TEXT NOT NULL,               -- all of them, joined by commas; part of the key
  "begin" INTEGER NOT NULL,
  "end" INTEGER NOT NULL,
  content_hash BLOB NOT NULL,
  records INTEGER NOT NULL,
  messages INTEGER NOT NULL,
  pass INTEGER,
  dropped INTEGER NOT NULL,
  counted INTEGER NOT NULL,            -- 1 when it is in the sums
  sums TEXT,                           -- what it adds to the sums: DMARC "evaluation:messages,…",
                                       -- TLS "domain id:successes:failures,…"
  "foreign" INTEGER NOT NULL,
  auth TEXT NOT NULL,
  auth_domain TEXT,
  received_at INTEGER NOT NULL,
  head_id INTEGER REFERENCES head,     -- all other fields: interned,
  head TEXT,                           -- or as JSON (failure, ARF, DSN)
  part_name TEXT,                      -- of the attachment or archive entry, as labelled
  part_type TEXT,
  part_size INTEGER NOT NULL,          -- bytes as carried
  records_kept INTEGER NOT NULL DEFAULT 1
) STRICT;
CREATE UNIQUE INDEX report_key ON report (report_id, org_id, kind, domains, "begin", "end");
CREATE INDEX report_mail ON report (mail_id);
-- what lists and sums need of a window, in the order of arrival within a begin: written at its end
CREATE INDEX report_window ON report ("begin", id, domain_id, "end", counted, org_id);
-- the few that are so long that a window may overlap them though they began well before it
CREATE INDEX report_long ON report ("end", id, domain_id, "begin", counted, org_id) WHERE "end" - "begin" > 90000;
CREATE INDEX report_end ON report (kind, "end") WHERE records_kept = 1;

-- the records of DMARC reports, see archive-records.ts; id = report id * 2^20 + number of the block
CREATE TABLE record_block (id INTEGER PRIMARY KEY, body BLOB NOT NULL, extra TEXT) STRICT;

-- day sums, kept for ever; a report over 25 hours is spread over its days
CREATE TABLE daily (
  domain_id INTEGER NOT NULL,
  day INTEGER NOT NULL,
  org_id INTEGER NOT NULL,
  ev INTEGER NOT NULL,
  messages INTEGER NOT NULL,
  PRIMARY KEY (domain_id, day, org_id, ev)
) STRICT, WITHOUT ROWID;
CREATE TABLE daily_total (
  domain_id INTEGER NOT NULL,
  day INTEGER NOT NULL,
  ev INTEGER NOT NULL,
  messages INTEGER NOT NULL,
  PRIMARY KEY (domain_id, day, ev)
) STRICT, WITHOUT ROWID;
CREATE TABLE tls_daily (
  domain_id INTEGER NOT NULL,
  day INTEGER NOT NULL,
  org_id INTEGER NOT NULL,
  successes INTEGER NOT NULL,
  failures INTEGER NOT NULL,
  PRIMARY KEY (domain_id, day, org_id)
) STRICT, WITHOUT ROWID;

-- policy domains of a report besides the first one
CREATE TABLE report_also (
  domain_id INTEGER NOT NULL,
  report_id INTEGER NOT NULL,
  PRIMARY KEY (domain_id, report_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE tls_policy (
  report_id INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  type TEXT NOT NULL,
  domain TEXT,
  successes INTEGER NOT NULL,
  failures INTEGER NOT NULL,
  body TEXT NOT NULL,                  -- JSON: typeRaw, strings, mxHosts
  PRIMARY KEY (report_id, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE tls_failure (
  report_id INTEGER NOT NULL,
  policy_seq INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  result_type TEXT NOT NULL,
  sending_ip TEXT,
  mx TEXT,
  helo TEXT,
  receiving_ip TEXT,
  sessions INTEGER NOT NULL,
  info TEXT,
  reason_code TEXT,
  PRIMARY KEY (report_id, policy_seq, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE dsn_recipient (
  report_id INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  recipient TEXT NOT NULL,
  action TEXT NOT NULL,
  status TEXT,
  diagnostic TEXT,
  PRIMARY KEY (report_id, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE warning (
  report_id INTEGER NOT NULL,
  code TEXT NOT NULL,
  count INTEGER NOT NULL,
  detail TEXT,
  PRIMARY KEY (report_id, code)
) STRICT, WITHOUT ROWID;

-- running sums for 'show stats', changed in the same transaction as what they count
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
`,
  },
  {
    // records expire by the time when their report was received; the counter tells how many are stored
    breaking: false,
    sql: `
DROP INDEX report_end;
CREATE INDEX report_received ON report (kind, received_at) WHERE records_kept = 1;
UPDATE counter SET value =
    (SELECT coalesce(sum(records), 0) FROM report WHERE kind = 'dmarc' AND counted = 1 AND records_kept = 1)
  WHERE name = 'archive.record';
`,
  },
  {
    // what expires is found by index; reports are stored in steps; the key of an expired report stays
    breaking: true,
    sql: `
-- the bytes of a mail: 0 not stored, 1 stored, 2 stored, of one that could not be parsed, 3 stored, not parsed yet
ALTER TABLE mail ADD COLUMN raw INTEGER NOT NULL DEFAULT 0;
UPDATE mail SET raw = CASE WHEN state = 'spooled' THEN 3
    WHEN outcome IN ('invalid', 'partial', 'unauthenticated', 'duplicate-conflict') THEN 2 ELSE 1 END
  WHERE id IN (SELECT mail_id FROM raw);
CREATE INDEX mail_raw ON mail (raw, received_at) WHERE raw > 0;
CREATE INDEX mail_received ON mail (received_at) WHERE state = 'done';
-- the last month (time / 2592000) in which a stored record referred to the row, or a later one
ALTER TABLE source ADD COLUMN used INTEGER NOT NULL DEFAULT 0;
UPDATE source SET used = (SELECT coalesce(max(received_at), 0) / 2592000 FROM report);
CREATE INDEX source_used ON source (used);
ALTER TABLE authset ADD COLUMN used INTEGER NOT NULL DEFAULT 0;
UPDATE authset SET used = (SELECT coalesce(max(received_at), 0) / 2592000 FROM report);
CREATE INDEX authset_used ON authset (used);
-- of reports
ALTER TABLE head ADD COLUMN used INTEGER NOT NULL DEFAULT 0;
UPDATE head SET used = (SELECT coalesce(max(received_at), 0) / 2592000 FROM report);
CREATE INDEX head_used ON head (used);
-- of reports and day sums: the month in which the report was received, or in which its period ends when that is later
ALTER TABLE domain ADD COLUMN used INTEGER NOT NULL DEFAULT 0;
UPDATE domain SET used = (SELECT coalesce(max(max(last_received, last_end)), 0) / 2592000 FROM domain_org
  WHERE domain_id = domain.id);
CREATE INDEX domain_used ON domain (used);
ALTER TABLE org ADD COLUMN used INTEGER NOT NULL DEFAULT 0;
UPDATE org SET used = (SELECT coalesce(max(received_at), 0) / 2592000 FROM report);
UPDATE org SET used = max(used, about.last) FROM (SELECT org_id, max(max(last_received, last_end)) / 2592000 AS last
  FROM domain_org GROUP BY org_id) AS about WHERE about.org_id = org.id;
CREATE INDEX org_used ON org (used);
-- by the ids: names as they were sent may contain a comma, with which they were counted wrongly
UPDATE domain_org SET reports = 0;
UPDATE domain_org SET reports = counted.n FROM
  (SELECT domain_id, org_id, count(*) AS n FROM
     (SELECT domain_id, org_id FROM report WHERE domain_id IS NOT NULL
      UNION ALL
      SELECT also.domain_id, org_id FROM report_also AS also JOIN report ON report.id = also.report_id)
   GROUP BY domain_id, org_id) AS counted
  WHERE counted.domain_id = domain_org.domain_id AND counted.org_id = domain_org.org_id;
-- of which no report is stored any more
CREATE INDEX domain_org_unused ON domain_org (last_received) WHERE reports <= 0;
CREATE INDEX domain_org_org ON domain_org (org_id);
-- of a day before this one sums were deleted: nothing is added to or subtracted from those days; at most one row
CREATE TABLE sums_expired (before INTEGER NOT NULL) STRICT;
CREATE INDEX report_also_report ON report_also (report_id);
-- reports that are being stored in several transactions: their rows are not visible yet, and are deleted at the next open
CREATE TABLE staged_report (id INTEGER PRIMARY KEY) STRICT;
-- reports that have expired, but not the sums that they went into: a late copy is still a duplicate.
-- Both are the first 16 bytes of a sha256: of what tells a report from all others, and of its content
CREATE TABLE expired_report (
  key BLOB PRIMARY KEY,
  content_hash BLOB NOT NULL,
  "end" INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX expired_report_end ON expired_report ("end");
`,
  },
];
