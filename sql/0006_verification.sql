-- What is seen of the record long after the seal: bytes in the store are read again, tiles of the log
-- are hashed again, and the digest of any artifact finds it.

-- A digest, or the beginning of one, finds what has it.
create index artifact_sha256 on artifact.artifact (sha256);
-- How large the log was at a time.
create index log_checkpoint_by_time on artifact.log_checkpoint (origin, signed_at desc, size desc);

create table artifact.verification (
  task text collate "C" not null,
  run integer not null,
  name text collate "C" not null,
  at timestamptz not null,
  outcome text not null check (outcome in ('agreed', 'mismatch', 'missing')),
  -- Which check failed: a code of schemas/problems.ts.
  code text,
  expected text,
  found text,
  -- Of the object, read until the outcome was clear.
  bytes bigint not null check (bytes >= 0),
  seconds double precision not null check (seconds >= 0),
  -- The server process that read, as its log names it.
  server uuid not null,
  primary key (task, run, name, at),
  foreign key (task, run, name) references artifact.artifact (task, run, name),
  check ((outcome = 'agreed') = (code is null))
);
comment on table artifact.verification is
  'Every time that stored bytes were read again and compared with the record. Insert only.';
create index verification_fault on artifact.verification (at desc) where outcome <> 'agreed';

do $$
declare
  sealed text;
begin
  foreach sealed in array array['verification'] loop
    execute format(
      'create trigger write_once before update or delete on artifact.%I for each row execute function artifact.refuse_change()',
      sealed);
    execute format(
      'create trigger write_once_all before truncate on artifact.%I for each statement execute function artifact.refuse_change()',
      sealed);
    execute format('alter table artifact.%I enable always trigger write_once', sealed);
    execute format('alter table artifact.%I enable always trigger write_once_all', sealed);
    execute format('revoke all on artifact.%I from public, artifact_server, artifact_signer, artifact_reader', sealed);
    execute format('revoke update, delete, truncate on artifact.%I from public, artifact_server, artifact_signer', sealed);
    execute format('grant select, insert on artifact.%I to artifact_server', sealed);
    execute format('grant select on artifact.%I to artifact_reader', sealed);
  end loop;
end
$$;

create table artifact.verification_turn (
  -- The leaf that sealed the artifact.
  idx bigint primary key,
  -- When its bytes were read last: the seal at first. Infinity once they were removed.
  seen_at timestamptz not null
);
comment on table artifact.verification_turn is
  'Whose turn it is to be read again, oldest first. Follows from the record, and proves nothing.';
create index verification_turn_by_age on artifact.verification_turn (seen_at, idx);

create table artifact.log_scrub (
  tile bigint primary key check (tile >= 0),
  checked_at timestamptz not null,
  -- How many leaves it had then.
  leaves integer not null check (leaves between 0 and 256),
  -- What was found when something last was; it stays when a later look finds nothing.
  faults text[] not null default '{}',
  faulty_at timestamptz
);
comment on table artifact.log_scrub is 'When each tile of the log was hashed again, and what was found.';
create index log_scrub_by_age on artifact.log_scrub (checked_at);
create index log_scrub_fault on artifact.log_scrub (faulty_at) where faulty_at is not null;

grant select, insert, update on artifact.verification_turn, artifact.log_scrub to artifact_server;
grant select on artifact.verification_turn, artifact.log_scrub to artifact_reader;
