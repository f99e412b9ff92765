-- {schema} is replaced by the ledger's schema, quoted.

-- Every mail, from before it is sent:
--   sending  to be sent, or being sent
--   sent     a mail server has taken it
--   failed   it will not be sent: last_error says why
--   unknown  its content was on the way when the connection, the server or the
--            worker ended; whether it was taken, nobody can say
-- A worker that takes a mail in hand writes its name into owner, and is presumed
-- dead when lease_until has passed. content_at is set before the content is
-- sent: a mail in hand without it was certainly not sent.
create table {schema}.mail (
    id bigint generated always as identity primary key,
    group_name text not null,
    kind text not null check (kind in ('order', 'confirmed', 'declined')),
    order_id text not null,
    recipient text not null,
    state text not null default 'sending'
        check (state in ('sending', 'sent', 'failed', 'unknown')),
    message_id text not null,
    -- What the templates show.
    details jsonb not null,
    -- How often it was taken in hand, and how often its fate was unknown.
    attempts integer not null default 0,
    unknowns integer not null default 0,
    last_error text,
    next_try_at timestamptz not null default now(),
    owner text,
    lease_until timestamptz,
    content_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    sent_at timestamptz,
    unique (group_name, kind, order_id, recipient)
);

create index mail_unfinished on {schema}.mail (group_name, next_try_at)
    where state in ('sending', 'unknown');
create index mail_order_id on {schema}.mail (order_id);
