-- The first schema, for both databases. Types are written for PostgreSQL; for SQLite UUID and
-- BYTEA become BLOB and BIGINT becomes INTEGER. `-- @month` and `-- @day` on the closing line of
-- a table partition it on PostgreSQL by the month in its v7 id, or by its day. Statements end
-- with a semicolon at the end of a line.

-- The install ---------------------------------------------------------------------------------
CREATE TABLE install (
  id BIGINT NOT NULL PRIMARY KEY,
  install_id UUID NOT NULL,
  shards BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  product_now BIGINT,            -- a moved product clock (demo); null: the machine's clock
  product_speed BIGINT NOT NULL, -- 1: the product clock runs; 0: it stands at product_now
  clock_set_at BIGINT,           -- machine time at which product_now was stored
  halted_at BIGINT,
  halt_reason TEXT,
  restored_from BIGINT,          -- product time of the backup, until sending is released
  caught_up_at BIGINT,           -- product time up to which a restore has caught up; null: not yet
  root_key_check BYTEA NOT NULL
);

CREATE TABLE worker (
  incarnation UUID NOT NULL PRIMARY KEY,
  beat BIGINT NOT NULL,
  high_water BIGINT NOT NULL,    -- highest product time seen, moved at beats
  started_at BIGINT NOT NULL,
  dead_at BIGINT,
  host TEXT NOT NULL
);

CREATE TABLE shard (
  id BIGINT NOT NULL PRIMARY KEY,
  owner UUID,
  epoch BIGINT NOT NULL,
  high_water BIGINT NOT NULL     -- of former owners; a new owner's time begins at or above it
);

-- Brands, keys, documents -----------------------------------------------------------------------
CREATE TABLE organisation (
  id UUID NOT NULL PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  created_at BIGINT NOT NULL
);

CREATE TABLE brand (
  tenant_id UUID NOT NULL PRIMARY KEY,
  organisation_id UUID NOT NULL,
  name TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  halted_at BIGINT,
  halt_reason TEXT,
  consent_version BIGINT NOT NULL,
  UNIQUE (organisation_id, name)
);

CREATE TABLE api_key (
  id UUID NOT NULL PRIMARY KEY,
  organisation_id UUID,          -- an organisation key reaches all its brands; null with a tenant
  tenant_id UUID,                -- both null: an install key
  prefix TEXT NOT NULL UNIQUE,
  hash BYTEA NOT NULL,
  kind TEXT NOT NULL,            -- public | secret
  scopes TEXT NOT NULL,          -- comma-separated: ingest,read,manage,admin
  label TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT,
  revoked_at BIGINT,
  last_used_at BIGINT
);

CREATE TABLE tenant_key (
  tenant_id UUID NOT NULL,
  purpose TEXT NOT NULL,         -- identity | address | cipher | link | secret
  version BIGINT NOT NULL,
  wrapped BYTEA NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, purpose, version)
);

CREATE TABLE secret (
  tenant_id UUID NOT NULL,
  name TEXT NOT NULL,
  version BIGINT NOT NULL,
  ciphertext BYTEA NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, name)
);

CREATE TABLE document (
  tenant_id UUID NOT NULL,
  kind TEXT NOT NULL,            -- Brand | Sender | Topic | Template | Journey
  name TEXT NOT NULL,
  version BIGINT NOT NULL,
  body TEXT NOT NULL,            -- canonical JSON of the document
  compiled BYTEA,                -- plan or compiled template, versioned
  published_at BIGINT NOT NULL,
  published_by UUID,
  PRIMARY KEY (tenant_id, kind, name, version)
);

CREATE TABLE document_head (
  tenant_id UUID NOT NULL,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  version BIGINT NOT NULL,
  status TEXT NOT NULL,          -- live | paused | archived
  changed_at BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, kind, name)
);

CREATE TABLE idempotency (
  scope_id UUID NOT NULL,        -- tenant, or organisation for keys above brands
  key BYTEA NOT NULL,
  route TEXT NOT NULL,
  body_hash BYTEA NOT NULL,
  status BIGINT NOT NULL,        -- 0 while the first request is being worked on
  response TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (scope_id, key, route)
);

-- Contacts --------------------------------------------------------------------------------------
CREATE TABLE contact (
  tenant_id UUID NOT NULL,
  id UUID NOT NULL,
  shard BIGINT NOT NULL,
  handle BYTEA NOT NULL,
  created_at BIGINT NOT NULL,
  merged_into UUID,
  erased_at BIGINT,
  PRIMARY KEY (tenant_id, id)
);
CREATE INDEX contact_handle ON contact (tenant_id, handle);
CREATE INDEX contact_created ON contact (tenant_id, created_at, id);
CREATE INDEX contact_merged ON contact (tenant_id, merged_into) WHERE merged_into IS NOT NULL;

CREATE TABLE identity (
  tenant_id UUID NOT NULL,
  kind TEXT NOT NULL,            -- user_id | anonymous_id | email
  value_hmac BYTEA NOT NULL,
  key_version BIGINT NOT NULL,
  contact_id UUID NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, kind, value_hmac)
);
CREATE INDEX identity_contact ON identity (tenant_id, contact_id);

CREATE TABLE contact_state (
  tenant_id UUID NOT NULL,
  contact_id UUID NOT NULL,
  shard BIGINT NOT NULL,
  revision BIGINT NOT NULL,      -- 1 with the first commit, below zero once the contact has ended
  seq BIGINT NOT NULL,           -- order of acceptance: number of the last accepted event
  state BYTEA NOT NULL,
  updated_at BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, contact_id)
);

CREATE TABLE address (
  tenant_id UUID NOT NULL,
  channel TEXT NOT NULL,
  hmac BYTEA NOT NULL,
  key_version BIGINT NOT NULL,
  ciphertext BYTEA,              -- null once erased; suppression and objection stay
  version BIGINT NOT NULL,
  suppressed_at BIGINT,
  suppressed_reason TEXT,
  objected_at BIGINT,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, channel, hmac)
);

CREATE TABLE contact_address (
  tenant_id UUID NOT NULL,
  contact_id UUID NOT NULL,
  channel TEXT NOT NULL,
  hmac BYTEA NOT NULL,           -- the contact's present address on the channel
  since BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, contact_id, channel)
);
CREATE INDEX contact_address_hmac ON contact_address (tenant_id, channel, hmac);

CREATE TABLE consent_head (
  tenant_id UUID NOT NULL,
  contact_id UUID NOT NULL,
  channel TEXT NOT NULL,
  version BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, contact_id, channel)
);

CREATE TABLE consent_fact (
  tenant_id UUID NOT NULL,
  id UUID NOT NULL,
  contact_id UUID NOT NULL,
  handle BYTEA NOT NULL,
  kind TEXT NOT NULL,
  topic TEXT,                    -- null: all marketing on the channel
  purpose TEXT NOT NULL,
  channel TEXT NOT NULL,
  address_hmac BYTEA,
  at BIGINT NOT NULL,
  source TEXT NOT NULL,
  wording TEXT,
  nonce BYTEA NOT NULL,
  canonical BYTEA NOT NULL,
  PRIMARY KEY (tenant_id, id)
); -- @month
CREATE INDEX consent_fact_contact ON consent_fact (tenant_id, contact_id, channel, id);

CREATE TABLE leaf_pending (
  tenant_id UUID NOT NULL,
  fact_id UUID NOT NULL,
  commitment BYTEA NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, fact_id)
);

-- Events and steps ------------------------------------------------------------------------------
CREATE TABLE event (
  tenant_id UUID NOT NULL,
  id UUID NOT NULL,
  contact_id UUID NOT NULL,
  seq BIGINT NOT NULL,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  message_id TEXT NOT NULL,
  occurred_at BIGINT,
  received_at BIGINT NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (tenant_id, contact_id, id)
); -- @month

CREATE TABLE event_key (
  tenant_id UUID NOT NULL,
  key BYTEA NOT NULL,
  day BIGINT NOT NULL,           -- UTC day of the event's own timestamp; the least number: undated
  contact_id UUID NOT NULL,
  seq BIGINT NOT NULL,
  body_hash BYTEA NOT NULL,
  event_id UUID NOT NULL,
  received_at BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, key, day)
); -- @day

CREATE TABLE trace (
  tenant_id UUID NOT NULL,
  id UUID NOT NULL,
  contact_id UUID NOT NULL,
  at BIGINT NOT NULL,
  cause TEXT NOT NULL,           -- event:ID | timer:RUN | inbox:ID
  body TEXT NOT NULL,            -- JSON list of trace entries
  PRIMARY KEY (tenant_id, contact_id, id)
); -- @month

CREATE TABLE run (
  tenant_id UUID NOT NULL,
  id UUID NOT NULL,
  contact_id UUID NOT NULL,
  journey TEXT NOT NULL,
  version BIGINT NOT NULL,
  run_key TEXT NOT NULL,
  live BIGINT NOT NULL,          -- 1 while waiting or held
  status TEXT NOT NULL,
  step TEXT NOT NULL,
  entered_at BIGINT NOT NULL,
  wakes_at BIGINT,
  ended_at BIGINT,
  ended_by TEXT,
  PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX run_live ON run (tenant_id, contact_id, journey, run_key) WHERE live = 1;
CREATE INDEX run_journey ON run (tenant_id, journey, status, id);
CREATE INDEX run_contact ON run (tenant_id, contact_id, id);

CREATE TABLE timer (
  tenant_id UUID NOT NULL,
  contact_id UUID NOT NULL,
  run_id UUID NOT NULL,
  journey TEXT NOT NULL,
  shard BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  due_at BIGINT NOT NULL,
  held BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, run_id)
);
CREATE INDEX timer_due ON timer (shard, due_at) WHERE held = 0;
CREATE INDEX timer_held ON timer (tenant_id, journey) WHERE held = 1;

CREATE TABLE inbox (
  tenant_id UUID NOT NULL,
  id UUID NOT NULL,
  contact_id UUID NOT NULL,
  shard BIGINT NOT NULL,
  source BYTEA NOT NULL,         -- 16 bytes that name the cause; the same cause twice is one row
  lane BIGINT NOT NULL,          -- 0 live, 1 bulk
  kind TEXT NOT NULL,            -- outcome | click | consent | absorb | absorbed | requeue
  ref TEXT NOT NULL,             -- JSON: ids and stable words
  body BYTEA,                    -- absorbed runs and attributes; null otherwise
  created_at BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, source)
);
CREATE INDEX inbox_shard ON inbox (shard, lane, id);
CREATE INDEX inbox_contact ON inbox (tenant_id, contact_id, id);

CREATE TABLE quarantine (
  tenant_id UUID NOT NULL,
  id UUID NOT NULL,
  contact_id UUID,               -- null: set aside before a contact was known
  origin TEXT NOT NULL,          -- ingest | event | timer | inbox
  code TEXT NOT NULL,
  detail TEXT NOT NULL,
  payload BYTEA NOT NULL,        -- the input, so that nothing is lost
  key BYTEA,                     -- de-duplication key of a set-aside event
  body_hash BYTEA,
  created_at BIGINT NOT NULL,
  requeued_at BIGINT,
  PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX quarantine_key ON quarantine (tenant_id, key) WHERE key IS NOT NULL;
CREATE INDEX quarantine_contact ON quarantine (tenant_id, contact_id) WHERE contact_id IS NOT NULL;
CREATE INDEX quarantine_open ON quarantine (tenant_id, code, created_at) WHERE requeued_at IS NULL;

-- Messages --------------------------------------------------------------------------------------
CREATE TABLE message (
  tenant_id UUID NOT NULL,
  id UUID NOT NULL,
  contact_id UUID NOT NULL,
  run_id UUID,
  journey TEXT,
  journey_version BIGINT,
  step TEXT,
  occurrence BIGINT,
  origin TEXT NOT NULL,          -- journey | api | test
  template TEXT NOT NULL,
  template_version BIGINT NOT NULL,
  sender TEXT NOT NULL,
  topic TEXT NOT NULL,
  class TEXT NOT NULL,
  channel TEXT NOT NULL,
  address_hmac BYTEA,
  data BYTEA NOT NULL,           -- run data for the template; erased with the contact
  created_at BIGINT NOT NULL,
  not_before BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  status TEXT NOT NULL,          -- queued, then an outcome word
  reason TEXT,
  attempts BIGINT NOT NULL,
  receipt TEXT,                  -- JSON: the gate's decision
  finished_at BIGINT,
  PRIMARY KEY (tenant_id, id)
); -- @month
CREATE INDEX message_contact ON message (tenant_id, contact_id, id);
CREATE INDEX message_status ON message (tenant_id, status, id);
CREATE INDEX message_unknown ON message (tenant_id, finished_at) WHERE status = 'unknown';

CREATE TABLE attempt (
  tenant_id UUID NOT NULL,
  id UUID NOT NULL,
  message_id UUID NOT NULL,
  number BIGINT NOT NULL,
  started_at BIGINT NOT NULL,
  ended_at BIGINT,
  stage TEXT NOT NULL,           -- how far it came: judge | render | connect | envelope | dot | reply
  result TEXT NOT NULL,
  code BIGINT,
  enhanced TEXT,
  PRIMARY KEY (tenant_id, message_id, id)
); -- @month

CREATE TABLE send_key (
  tenant_id UUID NOT NULL,
  key BYTEA NOT NULL,
  message_id UUID NOT NULL,
  PRIMARY KEY (tenant_id, key)
);

CREATE TABLE send_queue (
  tenant_id UUID NOT NULL,
  message_id UUID NOT NULL,
  lane BIGINT NOT NULL,
  class TEXT NOT NULL,
  not_before BIGINT NOT NULL,    -- product time
  expires_at BIGINT NOT NULL,    -- product time
  phase BIGINT NOT NULL,         -- 0 queued, 1 claimed, 2 dot_sent, 3 may have left (restored)
  claim_id UUID,
  claim_owner UUID,              -- incarnation that claimed
  lease_until BIGINT,            -- machine time
  attempts BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, message_id)
);
CREATE INDEX send_queue_ready ON send_queue (tenant_id, lane, phase, not_before);
CREATE INDEX send_queue_due ON send_queue (phase, not_before);
CREATE INDEX send_queue_lease ON send_queue (phase, lease_until);
CREATE INDEX send_queue_expiry ON send_queue (phase, expires_at);

CREATE TABLE send_head (
  tenant_id UUID NOT NULL,
  lane BIGINT NOT NULL,
  ready_at BIGINT NOT NULL,      -- product time from which the head may have work
  PRIMARY KEY (tenant_id, lane)
);

CREATE TABLE message_link (
  tenant_id UUID NOT NULL,
  message_id UUID NOT NULL,
  number BIGINT NOT NULL,
  url TEXT NOT NULL,
  clicked_at BIGINT,
  PRIMARY KEY (tenant_id, message_id, number)
);

CREATE TABLE mailbox (
  tenant_id UUID NOT NULL,
  message_id UUID NOT NULL,
  arrived_at BIGINT NOT NULL,
  recipient_hmac BYTEA NOT NULL,
  raw BYTEA NOT NULL,
  PRIMARY KEY (tenant_id, message_id)
);
CREATE INDEX mailbox_arrived ON mailbox (tenant_id, arrived_at, message_id);

-- Counters --------------------------------------------------------------------------------------
CREATE TABLE counter (
  tenant_id UUID NOT NULL,
  name TEXT NOT NULL,
  day BIGINT NOT NULL,
  value BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, name, day)
);

CREATE TABLE counter_delta (
  tenant_id UUID NOT NULL,
  id UUID NOT NULL,
  name TEXT NOT NULL,
  day BIGINT NOT NULL,
  delta BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, id, name)
);
