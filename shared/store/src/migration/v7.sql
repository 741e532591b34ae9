-- What a brand's templates may use of processors, for both kinds (see v1.sql).
ALTER TABLE quota ADD COLUMN template_cpu BIGINT;  -- percent of one core; null: no quota

-- Up to which moment of the database's clock, in microseconds, a brand has used that.
CREATE TABLE template_lease (
  tenant_id UUID NOT NULL PRIMARY KEY,
  taken_to BIGINT NOT NULL
);
