-- When a position was last moved with --on-data-loss, and where to: what was
-- stored before may be of records that Kafka no longer has, and records before
-- that offset may never have been read. Null for one that never was.
alter table {schema}.ledger_position
    add column moved_at timestamptz,
    add column moved_to bigint;
