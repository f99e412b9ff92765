-- {schema} is replaced by the ledger's schema, quoted.

create table {schema}.ledger_table (
    table_schema text not null,
    table_name text not null,
    kind text not null,
    recorded_at timestamptz not null default now(),
    primary key (table_schema, table_name)
);

-- Where each partition goes on, and who may write it: a batch advances the row
-- only from the offset and the epoch it knows. Half-filled pages, because every
-- batch updates these rows in place.
create table {schema}.ledger_position (
    group_name text not null,
    topic text not null,
    partition integer not null,
    table_schema text not null,
    table_name text not null,
    next_offset bigint not null,
    owner_epoch bigint not null,
    owner text not null,
    updated_at timestamptz not null default now(),
    primary key (group_name, topic, partition)
) with (fillfactor = 50);

create table {schema}.dead_letter (
    id bigint generated always as identity primary key,
    group_name text not null,
    topic text not null,
    partition integer not null,
    "offset" bigint not null,
    record_time timestamptz,
    key bytea,
    payload bytea,
    field text not null,
    reason text not null,
    table_schema text not null,
    table_name text not null,
    rejected_at timestamptz not null default now(),
    -- A topic that was deleted and made anew has other records at the same
    -- offsets; their times tell them apart.
    unique (group_name, topic, partition, "offset", record_time)
);
