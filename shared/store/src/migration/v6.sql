-- How a brand sends beside the others, and its breaker, for both kinds (see v1.sql).
CREATE TABLE brand_sending (
  tenant_id UUID NOT NULL PRIMARY KEY,
  weight BIGINT,                 -- null: the default, as with the others
  complaints BIGINT,             -- limits of the breaker, in parts per million
  bounces BIGINT,
  refusals BIGINT,
  sample BIGINT,                 -- fewer outcomes decide nothing
  stops BIGINT NOT NULL,         -- 0 nothing, 1 marketing, 2 everything but tests
  cause TEXT,                    -- why, since when (product time), and the counts that said so
  stopped_at BIGINT,
  sent BIGINT,
  bounced BIGINT,
  refused BIGINT,
  complained BIGINT,
  since BIGINT NOT NULL          -- product time of the last reset; what was sent before is not counted
);

-- What became of messages, by five minutes of product time. Each process counts in rows of its own, so
-- that none waits for another's commit.
CREATE TABLE outcome_count (
  tenant_id UUID NOT NULL,
  class TEXT NOT NULL,
  at BIGINT NOT NULL,            -- when the five minutes began
  owner UUID NOT NULL,           -- incarnation that counted
  sent BIGINT NOT NULL,
  bounced BIGINT NOT NULL,
  refused BIGINT NOT NULL,
  complained BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, class, at, owner)
);

-- Messages that somebody complained about: each once.
CREATE TABLE complaint (
  tenant_id UUID NOT NULL,
  message_id UUID NOT NULL,
  reported_at BIGINT NOT NULL,
  source TEXT NOT NULL,
  PRIMARY KEY (tenant_id, message_id)
);

-- What still leaves while a brand's marketing is stopped. The same columns as send_queue_ready: so both
-- databases prefer it where marketing is left out, however much of it waits.
CREATE INDEX send_queue_other ON send_queue (tenant_id, lane, phase, not_before)
  WHERE class <> 'marketing';
