-- Several workers on one database, for both kinds (see v1.sql). Both columns are null for workers of
-- the version before.
ALTER TABLE worker ADD COLUMN address TEXT;          -- where its events are handed over; null: nowhere
ALTER TABLE worker ADD COLUMN leaving_at BIGINT;     -- it gave its shards back; it may still be sending
