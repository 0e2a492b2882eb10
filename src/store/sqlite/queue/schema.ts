/** Tables of queue.db: outgoing reports, messages, envelopes. Times are epoch seconds UTC. */
import type { Migration } from "../migrate.ts";
import type { Sqlite } from "../open.ts";

export const QUEUE_MIGRATIONS: readonly Migration[] = [
  {
    breaking: true,
    sql: `
-- The outgoing reports. One row a (kind, policy domain, policy hash, begin).
CREATE TABLE outgoing (
  no INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,                       -- d!domain!hash!begin
  kind TEXT NOT NULL CHECK (kind IN ('dmarc', 'tls')),
  domain TEXT NOT NULL,                          -- policy domain
  policy_hash TEXT NOT NULL,                     -- 16 hex
  begin INTEGER NOT NULL,                        -- first second covered
  end INTEGER NOT NULL CHECK (end >= begin),     -- last second covered
  due INTEGER NOT NULL,                          -- when it is to be composed
  state TEXT NOT NULL CHECK (state IN ('open', 'held', 'composed', 'dropped')),
  closed INTEGER NOT NULL DEFAULT 0,             -- 1: counts no more
  drop_reason TEXT,
  resolve_attempts INTEGER NOT NULL DEFAULT 0,   -- times that DNS failed at due time
  last_error TEXT,
  policy TEXT NOT NULL,                          -- JSON: OutgoingPolicy, rua as seen last
  created_at INTEGER NOT NULL,
  settled_at INTEGER,                            -- when it was composed or dropped
  message_ids TEXT NOT NULL DEFAULT '[]'         -- JSON
) STRICT;
CREATE INDEX outgoing_key ON outgoing (kind, domain, policy_hash, end);
CREATE INDEX outgoing_due ON outgoing (due) WHERE state = 'open';
CREATE INDEX outgoing_state ON outgoing (state, no);
CREATE INDEX outgoing_settled ON outgoing (settled_at) WHERE settled_at IS NOT NULL;

-- What changes with every event stands apart from what does not: a batch then writes few pages.
CREATE TABLE outgoing_sum (
  outgoing INTEGER PRIMARY KEY REFERENCES outgoing (no) ON DELETE CASCADE,
  rows INTEGER NOT NULL DEFAULT 0,               -- tallies; kept after composing
  messages INTEGER NOT NULL DEFAULT 0,           -- messages or sessions in them
  reportable INTEGER NOT NULL DEFAULT 0,         -- of these, from events that are not optional
  wanted INTEGER NOT NULL DEFAULT 0,             -- of the reportable, not spam that passed DMARC
  late_events INTEGER NOT NULL DEFAULT 0,        -- counted here, though their time lies in a closed one
  merge_at INTEGER NOT NULL,                     -- number of tallies at which they are merged
  merge_step INTEGER NOT NULL DEFAULT 0          -- detail that new rows are counted without
) STRICT;

-- How many equal evaluations. The key is the start of the SHA-256 of the canonical row.
CREATE TABLE tally (
  no INTEGER PRIMARY KEY,
  outgoing INTEGER NOT NULL,
  key BLOB NOT NULL,
  row TEXT NOT NULL,
  UNIQUE (outgoing, key)
) STRICT;

CREATE TABLE tally_count (
  tally INTEGER PRIMARY KEY,
  count INTEGER NOT NULL
) STRICT;

CREATE TABLE tls_tally (
  outgoing INTEGER NOT NULL,
  key BLOB NOT NULL,
  row TEXT NOT NULL,
  success INTEGER NOT NULL,
  failure INTEGER NOT NULL,
  PRIMARY KEY (outgoing, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE tls_detail (
  outgoing INTEGER NOT NULL,
  policy BLOB NOT NULL,                          -- key of the tls_tally
  key BLOB NOT NULL,
  row TEXT NOT NULL,
  count INTEGER NOT NULL,
  PRIMARY KEY (outgoing, policy, key)
) STRICT, WITHOUT ROWID;

-- Events that carried an id, for three days. Numbered as they come, so that the oldest are first.
CREATE TABLE event_id (
  no INTEGER PRIMARY KEY,
  feed TEXT NOT NULL,
  id TEXT NOT NULL,
  day INTEGER NOT NULL,                          -- when it was counted, days since 1970
  UNIQUE (feed, id)
) STRICT;

-- One report to one address.
CREATE TABLE message (
  id TEXT PRIMARY KEY,                           -- 8 hex
  kind TEXT NOT NULL,
  outgoing_id TEXT NOT NULL,
  policy_domain TEXT NOT NULL,
  report_id TEXT NOT NULL,                       -- inside the report
  message_id TEXT NOT NULL,                      -- RFC 5322 Message-ID
  file_name TEXT NOT NULL,
  sender TEXT NOT NULL,                          -- return path
  size INTEGER NOT NULL,
  created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What is handed over: the RFC 5322 message, or for https the compressed report.
CREATE TABLE raw (
  message TEXT PRIMARY KEY REFERENCES message (id) ON DELETE CASCADE,
  body BLOB NOT NULL
) STRICT;

CREATE TABLE envelope (
  id TEXT PRIMARY KEY,                           -- message id + 8 hex
  message TEXT NOT NULL REFERENCES message (id),
  rcpt TEXT NOT NULL,
  transport TEXT NOT NULL CHECK (transport IN ('smtp', 'https')),
  destination TEXT NOT NULL,                     -- domain or host that is looked up
  state TEXT NOT NULL CHECK
    (state IN ('pending', 'inflight', 'held', 'delivered', 'failed', 'expired', 'removed')),
  attempts INTEGER NOT NULL DEFAULT 0,
  created_at INTEGER NOT NULL,
  next_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  settled_at INTEGER,                            -- when the state became final
  last TEXT                                      -- JSON: LastReply
) STRICT, WITHOUT ROWID;
CREATE INDEX envelope_message ON envelope (message);
CREATE INDEX envelope_due ON envelope (next_at, destination) WHERE state = 'pending';
CREATE INDEX envelope_active ON envelope (id) WHERE state IN ('pending', 'inflight', 'held');
CREATE INDEX envelope_inflight ON envelope (id) WHERE state = 'inflight';
CREATE INDEX envelope_settled ON envelope (settled_at) WHERE settled_at IS NOT NULL;

-- The last attempts of each envelope.
CREATE TABLE attempt (
  envelope TEXT NOT NULL REFERENCES envelope (id) ON DELETE CASCADE,
  n INTEGER NOT NULL,
  result TEXT NOT NULL,
  duration_ms INTEGER NOT NULL,
  reply TEXT NOT NULL,                           -- JSON: LastReply
  PRIMARY KEY (envelope, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE pause (
  subsystem TEXT NOT NULL,
  destination TEXT NOT NULL,                     -- '' is the whole subsystem
  since INTEGER NOT NULL,
  until INTEGER,
  who TEXT NOT NULL,
  reason TEXT,
  PRIMARY KEY (subsystem, destination)
) STRICT, WITHOUT ROWID;

CREATE TABLE suppression (
  target TEXT PRIMARY KEY,
  until INTEGER,
  reason TEXT NOT NULL,
  author TEXT NOT NULL CHECK (author IN ('operator', 'automatic')),
  created_at INTEGER NOT NULL,
  step INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
  no INTEGER PRIMARY KEY,
  at INTEGER NOT NULL,
  who TEXT NOT NULL,
  command TEXT NOT NULL,
  detail TEXT NOT NULL
) STRICT;

-- What show stats says, kept by the transactions that change it.
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
`,
  },
  {
    // an older program neither reads nor writes the new column
    breaking: false,
    sql: `
-- The state before an operator removed it, pending or held: undelete brings that back.
ALTER TABLE envelope ADD COLUMN removed_from TEXT;
-- What can be brought back, without the delivered ones.
CREATE INDEX envelope_undone ON envelope (id) WHERE state IN ('failed', 'expired', 'removed');
-- (pause.until is not used any more; no program has ever written a value there.)
`,
    run: failBounced,
  },
  {
    // an older program would take a message in slices for one that is gone, and fail its envelopes
    breaking: true,
    sql: `
-- The last second and due time of a period before it was cut short; NULL: it was not.
ALTER TABLE outgoing ADD COLUMN full_end INTEGER;
ALTER TABLE outgoing ADD COLUMN full_due INTEGER;
-- Compositions that failed by an error of ours; the next try is at due.
ALTER TABLE outgoing ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;
-- Of a composed or dropped report, 1: its tallies are kept (report.keep_dropped) and it can be brought back;
-- 2: they are being deleted, in slices; 0: they are gone.
ALTER TABLE outgoing ADD COLUMN tallies_kept INTEGER NOT NULL DEFAULT 0;
CREATE INDEX outgoing_tallies ON outgoing (tallies_kept, settled_at) WHERE tallies_kept > 0;

-- A large message in slices, in place of one row of raw: no commit takes long. They are stored before the message.
CREATE TABLE raw_slice (
  message TEXT NOT NULL,
  part INTEGER NOT NULL,                         -- from 0
  body BLOB NOT NULL,
  UNIQUE (message, part)
) STRICT;
CREATE TRIGGER raw_slice_of_message AFTER DELETE ON message BEGIN
  DELETE FROM raw_slice WHERE message = old.id;
END;
`,
  },
  {
    breaking: false,
    sql: `
-- How far a feed was counted, in its own words (a file and an offset, a number), changed with what it counted.
CREATE TABLE feed_cursor (
  feed TEXT PRIMARY KEY,
  cursor TEXT NOT NULL,
  at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
`,
  },
  {
    // an older program neither reads nor writes the new table
    breaking: false,
    sql: `
-- The last run of each job. One without an end was cut off by the end of the process.
CREATE TABLE job (
  name TEXT PRIMARY KEY,
  begun_at INTEGER NOT NULL,
  ended_at INTEGER,
  duration_ms INTEGER,
  result TEXT CHECK (result IN ('ok', 'failed', 'stopped')),
  who TEXT NOT NULL,                             -- schedule, or who asked for it
  code TEXT,                                     -- of the error of a run that failed
  error TEXT,
  detail TEXT,                                   -- JSON: counts of what was done
  runs INTEGER NOT NULL,                         -- all so far, and those that failed
  failures INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
`,
  },
];

/** Envelopes that bounced after their delivery are failed; their last reply and their history say it already. */
function failBounced(database: Sqlite): void {
  const { changes } = database
    .prepare(
      `UPDATE envelope SET state = 'failed' WHERE state = 'delivered' AND
         (SELECT result FROM attempt WHERE envelope = envelope.id ORDER BY n DESC LIMIT 1) = 'permanent'`,
    )
    .run();
  const add = database.prepare(
    `INSERT INTO counter (name, value) VALUES (?, ?)
     ON CONFLICT (name) DO UPDATE SET value = value + excluded.value`,
  );
  add.run("queue.delivered", -changes);
  add.run("queue.failed", changes);
}
