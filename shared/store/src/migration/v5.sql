-- How many messages of a sender that is warmed up have left on a day, or were about to. The day is
-- UTC's, in product time.
CREATE TABLE sender_day (
  tenant_id UUID NOT NULL,
  sender TEXT NOT NULL,
  day BIGINT NOT NULL,
  granted BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, sender, day)
);
