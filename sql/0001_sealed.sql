-- The write-once record. The runtime role may read and insert here, and nothing else: no UPDATE, no
-- DELETE (delete and insert is an update), no TRUNCATE. No foreign key leads here from anything the
-- runtime role can delete, since a cascade runs with the owner's rights and walks around the grants.

-- Whatever function comes later, nobody may run it unless it says so.
alter default privileges revoke execute on functions from public;

create function artifact.refuse_change() returns trigger
language plpgsql
set search_path = pg_catalog
as $$
begin
  raise exception '% on %.% is refused: the record is write-once', tg_op, tg_table_schema, tg_table_name
    using errcode = 'insufficient_privilege';
end
$$;
comment on function artifact.refuse_change() is
  'Stands behind the grants: stops the owner and a superuser from changing the record by accident.';

create table artifact.task (
  task text collate "C" primary key check (task ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$'),
  opened_at timestamptz not null default now()
);
comment on table artifact.task is 'Named producers. Insert only.';

create table artifact.run (
  task text collate "C" not null references artifact.task (task),
  run integer not null check (run >= 0),
  -- Chosen by the client that allotted the run, so that a repeated request allots one run.
  request_id uuid unique,
  opened_at timestamptz not null default now(),
  primary key (task, run)
);
comment on table artifact.run is 'Attempts of a task, allotted or written to. Insert only.';

create table artifact.artifact (
  task text collate "C" not null,
  run integer not null,
  name text collate "C" not null check (octet_length(name) between 1 and 512),
  sha256 bytea not null check (octet_length(sha256) = 32),
  size bigint not null check (size >= 0),
  part_size bigint not null check (part_size > 0),
  -- The digests of all parts in order, 32 bytes each.
  part_sha256s bytea not null check (
    octet_length(part_sha256s) = 32 * (size / part_size + case when size % part_size > 0 then 1 else 0 end)
  ),
  content_type text not null check (octet_length(content_type) <= 255),
  labels jsonb not null check (jsonb_typeof(labels) = 'object' and octet_length(labels::text) <= 65536),
  policy text not null check (policy in ('reread', 'parts')),
  store text not null,
  blob_key text not null unique,
  -- What the store calls this very content (an ETag), to read it by If-Match.
  blob_tag text not null,
  upload_id uuid not null unique,
  opened_at timestamptz not null,
  sealed_at timestamptz not null default now(),
  sealed_by_token uuid not null,
  sealed_by_name text not null,
  primary key (task, run, name),
  foreign key (task, run) references artifact.run (task, run),
  check (size = 0 or size > part_size or part_sha256s = sha256)
);
comment on table artifact.artifact is 'Sealed artifacts: (task, run, name) to sha256 and size. Insert only.';
-- The highest run in which a name is sealed.
create index artifact_latest on artifact.artifact (task, name, run desc);

do $$
declare
  sealed text;
begin
  foreach sealed in array array['task', 'run', 'artifact'] loop
    execute format(
      'create trigger write_once before update or delete on artifact.%I for each row execute function artifact.refuse_change()',
      sealed);
    execute format(
      'create trigger write_once_all before truncate on artifact.%I for each statement execute function artifact.refuse_change()',
      sealed);
    -- Also when a session replays changes as a replica, where ordinary triggers sleep.
    execute format('alter table artifact.%I enable always trigger write_once', sealed);
    execute format('alter table artifact.%I enable always trigger write_once_all', sealed);
    execute format('revoke all on artifact.%I from public, artifact_server, artifact_reader', sealed);
    execute format('revoke update, delete, truncate on artifact.%I from public, artifact_server', sealed);
    execute format('grant select, insert on artifact.%I to artifact_server', sealed);
    execute format('grant select on artifact.%I to artifact_reader', sealed);
  end loop;
end
$$;
