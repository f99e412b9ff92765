-- {schema} is replaced by the ledger's schema, quoted.

-- What became of a dead letter since:
--   open      nothing yet
--   redriving being published to a topic by the run redrive_id; whether it got
--             there is found out in the topic
--   redriven  published to a topic, and committed there
--   stored    in its table after all, marked in the same transaction
--   purged    its contents are gone, the row still accounts for the record;
--             purged_from is the state it was in before
alter table {schema}.dead_letter
    add column state text not null default 'open'
        check (state in ('open', 'redriving', 'redriven', 'stored', 'purged')),
    add column state_at timestamptz,
    add column redrive_id bigint,
    add column purged_from text check ((purged_from is not null) = (state = 'purged'));

create index dead_letter_unfinished on {schema}.dead_letter (id)
    where state in ('open', 'redriving');

-- Tells this ledger's letters from those of any other in a topic.
create table {schema}.ledger_identity (id uuid primary key);
insert into {schema}.ledger_identity values (gen_random_uuid());

-- Runs of redrive, and from where in the topic what each published is found:
-- element n is an offset of partition n - 1. The topic's id tells it from one
-- made anew under its name; null for brokers that give topics no ids.
create table {schema}.redrive (
    id bigint generated always as identity primary key,
    cluster text not null,
    topic text not null,
    topic_id text,
    from_offsets bigint[] not null,
    started_at timestamptz not null default now()
);

-- The latest run on a topic: only this one may take letters or give them back.
create table {schema}.redrive_owner (
    cluster text not null,
    topic text not null,
    redrive_id bigint not null,
    primary key (cluster, topic)
);

-- Letters of dead-letter topics that others write, known from the first redrive
-- on. The record's time tells it from one at the same offset of a topic made
-- anew; -1 is none.
create table {schema}.foreign_letter (
    id bigint generated always as identity primary key,
    cluster text not null,
    topic text not null,
    partition integer not null,
    "offset" bigint not null,
    record_time_ms bigint not null,
    state text not null default 'open' check (state in ('open', 'redriving', 'redriven')),
    state_at timestamptz,
    redrive_id bigint,
    unique (cluster, topic, partition, "offset", record_time_ms)
);
