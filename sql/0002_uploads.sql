-- Upload sessions: mutable, and worth nothing once the artifact is sealed.

create table artifact.upload (
  id uuid primary key,
  task text collate "C" not null,
  run integer not null,
  name text collate "C" not null,
  -- As declared at the opening; null when not known then.
  size bigint check (size >= 0),
  sha256 bytea check (octet_length(sha256) = 32),
  part_size bigint not null check (part_size > 0),
  content_type text not null,
  labels jsonb not null,
  policy text not null check (policy in ('reread', 'parts')),
  state text not null default 'open'
    check (state in ('open', 'verifying', 'sealed', 'failed', 'aborted', 'expired')),
  blob_key text not null unique,
  -- What the store needs to go on with it; null until the store has begun.
  store_session text,
  -- The claim of the seal request that moved it to verifying.
  claimed_size bigint check (claimed_size >= 0),
  claimed_sha256 bytea check (octet_length(claimed_sha256) = 32),
  verified_bytes bigint not null default 0,
  -- The server process that verifies, and until when the others leave it alone.
  lease_holder uuid,
  lease_until timestamptz,
  problem jsonb,
  progress_bytes bigint not null default 0,
  progress_total bigint,
  progress_at timestamptz not null default now(),
  attempt integer not null default 1,
  token_id uuid not null,
  token_name text not null,
  opened_at timestamptz not null default now(),
  moved_at timestamptz not null default now(),
  expires_at timestamptz not null,
  ended_at timestamptz,
  -- When the store was told to forget what an upload without artifact left there.
  purged_at timestamptz,
  check (state <> 'verifying' or (claimed_size is not null and claimed_sha256 is not null)),
  check (state <> 'failed' or problem is not null)
);
comment on table artifact.upload is 'Sessions from which artifacts may come.';
create index upload_by_token on artifact.upload (token_id) where state in ('open', 'verifying');
create index upload_active on artifact.upload (opened_at desc, id) where state in ('open', 'verifying');
create index upload_by_time on artifact.upload (opened_at desc, id);
create index upload_expiring on artifact.upload (expires_at) where state = 'open';
create index upload_unpurged on artifact.upload (ended_at) where ended_at is not null and purged_at is null;

create table artifact.upload_part (
  upload_id uuid not null references artifact.upload (id) on delete cascade,
  number integer not null check (number between 1 and 10000),
  size bigint not null check (size > 0),
  sha256 bytea not null check (octet_length(sha256) = 32),
  primary key (upload_id, number)
);
comment on table artifact.upload_part is
  'The digest that the first grant bound to a part. No grant is given for another one.';

create table artifact.event (
  id bigint generated always as identity primary key,
  at timestamptz not null default now(),
  kind text not null,
  task text collate "C" not null,
  run integer not null,
  name text collate "C" not null,
  upload_id uuid,
  body jsonb not null
);
comment on table artifact.event is
  'What people watch, in order of commit (appended under an advisory lock). Kept for a while only.';
create index event_by_time on artifact.event (at);

grant select, insert, update, delete on artifact.upload to artifact_server;
grant select, insert, delete on artifact.upload_part to artifact_server;
grant select, insert, delete on artifact.event to artifact_server;
grant select on artifact.upload, artifact.upload_part, artifact.event to artifact_reader;
