-- Whoever appends events says by a lock from which id on they will be. That is the database's to do and not
-- the appender's: a server of an older version, which knows of no such lock, may run beside newer ones, and
-- their readers must not pass over what it has yet to commit.

create function artifact.hold_event_place() returns trigger
language plpgsql
set search_path = pg_catalog
as $$
begin
  -- Before the first id is drawn. Whatever id is visible here, the next one that is drawn is higher.
  perform pg_advisory_xact_lock_shared(
    -- "evnt", and the id modulo 2^32, nearest to zero.
    1702260340, (((coalesce(max(id), 0) + 1 + 2147483648) & 4294967295) - 2147483648)::int)
  from artifact.event;
  return null;
end
$$;
comment on function artifact.hold_event_place() is
  'Says from which id on events may still come: readers stop there until the transaction ends.';

create trigger hold_place before insert on artifact.event
  for each statement execute function artifact.hold_event_place();
