-- The body of the trigger function: seats and sales of the tickets that one
-- statement stored or changed.
declare
    wanted_count bigint;
    sold_count bigint;
    clash record;
begin
    -- Seats are sold by one transaction after the other, or two that each want
    -- what the other one sold would wait for each other.
    perform pg_advisory_xact_lock({lock} + tg_relid::bigint);
    if tg_op = 'UPDATE' then
        delete from {seating} as s where s.ticket in (
            select o.{key} from orderctl_old as o union all select n.{key} from orderctl_new as n);
    end if;
    with wanted as ({wanted}), sold as (
        insert into {seating} (theater, movie, seat, ticket)
        select w.theater, w.movie, w.seat, w.ticket from wanted as w order by 1, 2, 3
        on conflict do nothing
        returning 1)
    select (select count(*) from wanted), (select count(*) from sold)
    into wanted_count, sold_count;
    if sold_count < wanted_count then
        select w.*, s.ticket as holder into clash from ({wanted}) as w
        join {seating} as s using (theater, movie, seat) where s.ticket <> w.ticket limit 1;
        if found then
            raise exception 'ticket % holds seat % of % at %',
                clash.holder, clash.seat, clash.movie, clash.theater
                using errcode = 'unique_violation', column = {seats_name};
        end if;
        select w.seat into clash from ({wanted}) as w
        group by w.theater, w.movie, w.seat having count(*) > 1 limit 1;
        if found then
            raise exception 'seat % is on the ticket twice', clash.seat
                using errcode = 'unique_violation', column = {seats_name};
        end if;
        raise exception 'a seat was given back meanwhile: try again'
            using errcode = 'serialization_failure';
    end if;
    insert into {transactions} (ticket_id, theater, movie, name, seats) {sales}
    on conflict (ticket_id) do update set theater = excluded.theater, movie = excluded.movie,
        name = excluded.name, seats = excluded.seats;
    return null;
end
