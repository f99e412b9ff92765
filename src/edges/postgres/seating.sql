-- What db-setup --with-seating makes beside a table of tickets. The names in
-- braces are replaced, quoted: see seating.rs.

create or replace function {function}() returns trigger language plpgsql
-- Whoever may sell a ticket need not be able to change seats otherwise.
security definer set search_path = pg_catalog, pg_temp
as {body};
revoke all on function {function}() from public;

-- They lock the table, so that no ticket is sold beside what follows.
create trigger {trigger_insert} after insert on {table}
    referencing new table as orderctl_new
    for each statement execute function {function}();
create trigger {trigger_update} after update on {table}
    referencing old table as orderctl_old new table as orderctl_new
    for each statement execute function {function}();

create table {seating} as
    select {theater}::text as theater, {movie}::text as movie, ''::text as seat, {key} as ticket
    from {table} with no data;
alter table {seating}
    add primary key (theater, movie, seat),
    alter ticket set not null,
    add constraint a_seat_has_a_number check (seat <> ''),
    add foreign key (ticket) references {table} ({key}) on update cascade on delete cascade;
create index on {seating} (ticket);

create table {transactions} as
    select {key} as ticket_id, {theater}::text as theater, {movie}::text as movie,
        {name}::text as name, 0 as seats, pg_catalog.now() as stored_at
    from {table} with no data;
alter table {transactions}
    add primary key (ticket_id),
    alter theater set not null,
    alter movie set not null,
    alter seats set not null,
    alter stored_at set not null,
    alter stored_at set default now(),
    add constraint a_ticket_has_seats check (seats > 0),
    add foreign key (ticket_id) references {table} ({key}) on update cascade on delete cascade;
