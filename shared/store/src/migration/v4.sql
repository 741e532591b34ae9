-- Quotas of brands, and what they use of them, for both kinds (see v1.sql).
CREATE TABLE quota (
  tenant_id UUID NOT NULL PRIMARY KEY,
  events TEXT,                   -- a rate, or 'none'; null: the install's default
  contacts BIGINT,               -- null: no quota, as with the others
  journeys BIGINT,
  sends_per_day BIGINT
);

-- Up to which moment of the database's clock, in nanoseconds, a brand's events are given out.
CREATE TABLE event_lease (
  tenant_id UUID NOT NULL PRIMARY KEY,
  taken_to BIGINT NOT NULL
);

-- How many sends of a day senders have taken for themselves. The day is UTC's, in product time.
CREATE TABLE send_day (
  tenant_id UUID NOT NULL,
  day BIGINT NOT NULL,
  granted BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, day)
);
