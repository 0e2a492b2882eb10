/** The schema of queue.db. Times are epoch seconds UTC. */
import type { Migration } from "./migrate.ts";

export const QUEUE_MIGRATIONS: readonly Migration[] = [
  {
    breaking: true,
    sql: `
-- outgoing reports: one per kind, policy domain, policy and period
CREATE TABLE outgoing (
  n INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,            -- d!domain!policyhash!begin
  kind TEXT NOT NULL,
  policy_domain TEXT NOT NULL,
  policy_hash TEXT NOT NULL,
  "begin" INTEGER NOT NULL,
  "end" INTEGER NOT NULL,             -- last second
  due INTEGER NOT NULL,
  state TEXT NOT NULL,                -- open, held, composed, dropped
  drop_reason TEXT,
  resolve_attempts INTEGER NOT NULL DEFAULT 0,
  last_error TEXT,
  policy TEXT NOT NULL,               -- JSON: the policy record, rua as last seen
  rows INTEGER NOT NULL DEFAULT 0,
  messages INTEGER NOT NULL DEFAULT 0,
  reportable INTEGER NOT NULL DEFAULT 0, -- of these, not optional
  wanted INTEGER NOT NULL DEFAULT 0,  -- of the reportable, not spam that passed
  late INTEGER NOT NULL DEFAULT 0,
  created_at INTEGER NOT NULL,
  composed_at INTEGER
) STRICT;
CREATE INDEX outgoing_due ON outgoing (due) WHERE state = 'open';
CREATE INDEX outgoing_key ON outgoing (kind, policy_domain, policy_hash, "end");

-- counts of equal evaluations; for TLS of equal policies and of equal failure details
CREATE TABLE tally (
  outgoing INTEGER NOT NULL,
  key BLOB NOT NULL,                  -- first 16 bytes of sha256 of the row
  row TEXT NOT NULL,                  -- JSON, canonical
  count INTEGER NOT NULL,             -- TLS policies: successful sessions
  failures INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (outgoing, key)
) STRICT, WITHOUT ROWID;

-- ids of counted events, for three days
CREATE TABLE event (feed TEXT NOT NULL, id TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (feed, id)) STRICT, WITHOUT ROWID;
CREATE INDEX event_at ON event (at);

CREATE TABLE message (
  id TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  outgoing_id TEXT NOT NULL,
  policy_domain TEXT NOT NULL,
  report_id TEXT NOT NULL,
  message_id TEXT NOT NULL,
  file_name TEXT NOT NULL,
  sender TEXT NOT NULL,
  size INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  raw BLOB NOT NULL
) STRICT;
CREATE INDEX message_outgoing ON message (outgoing_id);
CREATE INDEX message_mid ON message (message_id);

CREATE TABLE envelope (
  id TEXT PRIMARY KEY,
  message TEXT NOT NULL REFERENCES message,
  rcpt TEXT NOT NULL,
  transport TEXT NOT NULL,
  destination TEXT NOT NULL,
  state TEXT NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  created_at INTEGER NOT NULL,
  next_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  settled_at INTEGER,
  last TEXT                           -- JSON of the last reply
) STRICT;
CREATE INDEX envelope_due ON envelope (next_at) WHERE state = 'pending';
CREATE INDEX envelope_message ON envelope (message);
CREATE INDEX envelope_settled ON envelope (settled_at) WHERE settled_at IS NOT NULL;
CREATE INDEX envelope_state ON envelope (state, id);

CREATE TABLE attempt (
  envelope TEXT NOT NULL,
  n INTEGER NOT NULL,
  body TEXT NOT NULL,                 -- JSON
  PRIMARY KEY (envelope, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE pause (
  subsystem TEXT NOT NULL,
  destination TEXT NOT NULL,          -- "" = all of it
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
  author TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  step INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE audit (n INTEGER PRIMARY KEY, at INTEGER NOT NULL, who TEXT NOT NULL, command TEXT NOT NULL, detail TEXT NOT NULL) STRICT;
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
`,
  },
];
