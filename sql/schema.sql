-- The schema after all migrations, written by "npm run schema". Never run: a test compares it with a
-- fresh migration, so that a change of the schema shows in the diff of this file.

set role artifact_owner;
set search_path = pg_catalog;

-- Schema artifact, owned by artifact_owner.
-- default privileges of artifact_owner, kind f: {artifact_owner=X/artifact_owner}
grant usage on schema artifact to artifact_reader;
grant usage on schema artifact to artifact_server;
grant usage on schema artifact to artifact_signer;

CREATE OR REPLACE FUNCTION artifact.hold_event_place()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog'
AS $function$
begin
  -- Before the first id is drawn. Whatever id is visible here, the next one that is drawn is higher.
  perform pg_advisory_xact_lock_shared(
    -- "evnt", and the id modulo 2^32, nearest to zero.
    1702260340, (((coalesce(max(id), 0) + 1 + 2147483648) & 4294967295) - 2147483648)::int)
  from artifact.event;
  return null;
end
$function$;
comment on function artifact.hold_event_place() is 'Says from which id on events may still come: readers stop there until the transaction ends.';
-- grants: {artifact_owner=X/artifact_owner}

CREATE OR REPLACE FUNCTION artifact.refuse_change()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog'
AS $function$
begin
  raise exception '% on %.% is refused: the record is write-once', tg_op, tg_table_schema, tg_table_name
    using errcode = 'insufficient_privilege';
end
$function$;
comment on function artifact.refuse_change() is 'Stands behind the grants: stops the owner and a superuser from changing the record by accident.';
-- grants: {artifact_owner=X/artifact_owner}

create table artifact.migration (
  version integer not null,
  name text not null,
  sha256 bytea not null,
  applied_at timestamp with time zone not null default now(),
  constraint migration_pkey PRIMARY KEY (version),
  constraint migration_sha256_check CHECK ((octet_length(sha256) = 32)),
  constraint migration_version_check CHECK ((version > 0))
);
comment on table artifact.migration is 'Migrations that were applied, with the SHA-256 of their text.';
grant select on artifact.migration to artifact_reader;
grant select on artifact.migration to artifact_server;
grant select on artifact.migration to artifact_signer;

create table artifact.task (
  task text collate "C" not null,
  opened_at timestamp with time zone not null default now(),
  constraint task_pkey PRIMARY KEY (task),
  constraint task_task_check CHECK ((task ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$'::text))
);
comment on table artifact.task is 'Named producers. Insert only.';
CREATE TRIGGER write_once BEFORE DELETE OR UPDATE ON artifact.task FOR EACH ROW EXECUTE FUNCTION artifact.refuse_change();
alter table artifact.task enable always trigger write_once;
CREATE TRIGGER write_once_all BEFORE TRUNCATE ON artifact.task FOR EACH STATEMENT EXECUTE FUNCTION artifact.refuse_change();
alter table artifact.task enable always trigger write_once_all;
grant select on artifact.task to artifact_reader;
grant insert, select on artifact.task to artifact_server;

create table artifact.run (
  task text collate "C" not null,
  run integer not null,
  request_id uuid,
  opened_at timestamp with time zone not null default now(),
  constraint run_pkey PRIMARY KEY (task, run),
  constraint run_request_id_key UNIQUE (request_id),
  constraint run_task_fkey FOREIGN KEY (task) REFERENCES artifact.task(task),
  constraint run_run_check CHECK ((run >= 0))
);
comment on table artifact.run is 'Attempts of a task, allotted or written to. Insert only.';
CREATE INDEX run_latest ON artifact.run USING btree (task, run DESC) INCLUDE (opened_at);
CREATE TRIGGER write_once BEFORE DELETE OR UPDATE ON artifact.run FOR EACH ROW EXECUTE FUNCTION artifact.refuse_change();
alter table artifact.run enable always trigger write_once;
CREATE TRIGGER write_once_all BEFORE TRUNCATE ON artifact.run FOR EACH STATEMENT EXECUTE FUNCTION artifact.refuse_change();
alter table artifact.run enable always trigger write_once_all;
grant select on artifact.run to artifact_reader;
grant insert, select on artifact.run to artifact_server;

create table artifact.artifact (
  task text collate "C" not null,
  run integer not null,
  name text collate "C" not null,
  sha256 bytea not null,
  size bigint not null,
  part_size bigint not null,
  part_sha256s bytea not null,
  content_type text not null,
  labels jsonb not null,
  policy text not null,
  store text not null,
  blob_key text not null,
  blob_tag text not null,
  upload_id uuid not null,
  opened_at timestamp with time zone not null,
  sealed_at timestamp with time zone not null default now(),
  sealed_by_token uuid not null,
  sealed_by_name text not null,
  constraint artifact_pkey PRIMARY KEY (task, run, name),
  constraint artifact_blob_key_key UNIQUE (blob_key),
  constraint artifact_upload_id_key UNIQUE (upload_id),
  constraint artifact_task_run_fkey FOREIGN KEY (task, run) REFERENCES artifact.run(task, run),
  constraint artifact_check CHECK ((octet_length(part_sha256s) = (32 * ((size / part_size) +
CASE
    WHEN ((size % part_size) > 0) THEN 1
    ELSE 0
END)))),
  constraint artifact_check1 CHECK (((size = 0) OR (size > part_size) OR (part_sha256s = sha256))),
  constraint artifact_content_type_check CHECK ((octet_length(content_type) <= 255)),
  constraint artifact_labels_check CHECK (((jsonb_typeof(labels) = 'object'::text) AND (octet_length((labels)::text) <= 65536))),
  constraint artifact_name_check CHECK (((octet_length(name) >= 1) AND (octet_length(name) <= 512))),
  constraint artifact_part_size_check CHECK ((part_size > 0)),
  constraint artifact_policy_check CHECK ((policy = ANY (ARRAY['reread'::text, 'parts'::text]))),
  constraint artifact_sha256_check CHECK ((octet_length(sha256) = 32)),
  constraint artifact_size_check CHECK ((size >= 0))
);
comment on table artifact.artifact is 'Sealed artifacts: (task, run, name) to sha256 and size. Insert only.';
CREATE INDEX artifact_latest ON artifact.artifact USING btree (task, name, run DESC);
CREATE INDEX artifact_sha256 ON artifact.artifact USING btree (sha256);
CREATE TRIGGER write_once BEFORE DELETE OR UPDATE ON artifact.artifact FOR EACH ROW EXECUTE FUNCTION artifact.refuse_change();
alter table artifact.artifact enable always trigger write_once;
CREATE TRIGGER write_once_all BEFORE TRUNCATE ON artifact.artifact FOR EACH STATEMENT EXECUTE FUNCTION artifact.refuse_change();
alter table artifact.artifact enable always trigger write_once_all;
grant select on artifact.artifact to artifact_reader;
grant insert, select on artifact.artifact to artifact_server;
grant select on artifact.artifact to artifact_signer;

create table artifact.upload (
  id uuid not null,
  task text collate "C" not null,
  run integer not null,
  name text collate "C" not null,
  size bigint,
  sha256 bytea,
  part_size bigint not null,
  content_type text not null,
  labels jsonb not null,
  policy text not null,
  state text not null default 'open'::text,
  blob_key text not null,
  store_session text,
  claimed_size bigint,
  claimed_sha256 bytea,
  verified_bytes bigint not null default 0,
  lease_holder uuid,
  lease_until timestamp with time zone,
  problem jsonb,
  progress_bytes bigint not null default 0,
  progress_total bigint,
  progress_at timestamp with time zone not null default now(),
  attempt integer not null default 1,
  token_id uuid not null,
  token_name text not null,
  opened_at timestamp with time zone not null default now(),
  moved_at timestamp with time zone not null default now(),
  expires_at timestamp with time zone not null,
  ended_at timestamp with time zone,
  purged_at timestamp with time zone,
  restarted_at timestamp with time zone,
  constraint upload_pkey PRIMARY KEY (id),
  constraint upload_blob_key_key UNIQUE (blob_key),
  constraint upload_check CHECK (((state <> 'verifying'::text) OR ((claimed_size IS NOT NULL) AND (claimed_sha256 IS NOT NULL)))),
  constraint upload_check1 CHECK (((state <> 'failed'::text) OR (problem IS NOT NULL))),
  constraint upload_claimed_sha256_check CHECK ((octet_length(claimed_sha256) = 32)),
  constraint upload_claimed_size_check CHECK ((claimed_size >= 0)),
  constraint upload_part_size_check CHECK ((part_size > 0)),
  constraint upload_policy_check CHECK ((policy = ANY (ARRAY['reread'::text, 'parts'::text]))),
  constraint upload_sha256_check CHECK ((octet_length(sha256) = 32)),
  constraint upload_size_check CHECK ((size >= 0)),
  constraint upload_state_check CHECK ((state = ANY (ARRAY['open'::text, 'verifying'::text, 'sealed'::text, 'failed'::text, 'aborted'::text, 'expired'::text])))
);
comment on table artifact.upload is 'Sessions from which artifacts may come.';
CREATE INDEX upload_active ON artifact.upload USING btree (opened_at DESC, id) WHERE (state = ANY (ARRAY['open'::text, 'verifying'::text]));
CREATE INDEX upload_by_end ON artifact.upload USING btree (ended_at DESC, id) WHERE (ended_at IS NOT NULL);
CREATE INDEX upload_by_state ON artifact.upload USING btree (state, opened_at, id);
CREATE INDEX upload_by_task ON artifact.upload USING btree (task, opened_at, id);
CREATE INDEX upload_by_token ON artifact.upload USING btree (token_id) WHERE (state = ANY (ARRAY['open'::text, 'verifying'::text]));
CREATE INDEX upload_expiring ON artifact.upload USING btree (expires_at) WHERE (state = 'open'::text);
CREATE INDEX upload_unpurged ON artifact.upload USING btree (ended_at) WHERE ((ended_at IS NOT NULL) AND (purged_at IS NULL));
grant select on artifact.upload to artifact_reader;
grant delete, insert, select, update on artifact.upload to artifact_server;

create table artifact.upload_part (
  upload_id uuid not null,
  number integer not null,
  size bigint not null,
  sha256 bytea not null,
  constraint upload_part_pkey PRIMARY KEY (upload_id, number),
  constraint upload_part_upload_id_fkey FOREIGN KEY (upload_id) REFERENCES artifact.upload(id) ON DELETE CASCADE,
  constraint upload_part_number_check CHECK (((number >= 1) AND (number <= 10000))),
  constraint upload_part_sha256_check CHECK ((octet_length(sha256) = 32)),
  constraint upload_part_size_check1 CHECK ((size > 0))
);
comment on table artifact.upload_part is 'The digest that the first grant bound to a part. No grant is given for another one.';
grant select on artifact.upload_part to artifact_reader;
grant delete, insert, select on artifact.upload_part to artifact_server;

create table artifact.event (
  id bigint not null generated always as identity,
  at timestamp with time zone not null default now(),
  kind text not null,
  task text collate "C" not null,
  run integer not null,
  name text collate "C" not null,
  upload_id uuid,
  body jsonb not null,
  constraint event_pkey PRIMARY KEY (id)
);
comment on table artifact.event is 'What people watch, read in the order of ids, up to the first that may still be committed. Kept for a while only.';
CREATE INDEX event_by_time ON artifact.event USING btree (at);
CREATE TRIGGER hold_place BEFORE INSERT ON artifact.event FOR EACH STATEMENT EXECUTE FUNCTION artifact.hold_event_place();
grant select on artifact.event to artifact_reader;
grant delete, insert, select on artifact.event to artifact_server;

create table artifact.token (
  id uuid not null,
  name text not null,
  secret_sha256 bytea not null,
  scopes text[] not null,
  created_at timestamp with time zone not null default now(),
  expires_at timestamp with time zone,
  revoked_at timestamp with time zone,
  constraint token_pkey PRIMARY KEY (id),
  constraint token_secret_sha256_key UNIQUE (secret_sha256),
  constraint token_secret_sha256_check CHECK ((octet_length(secret_sha256) = 32))
);
comment on table artifact.token is 'Bearer tokens, by the SHA-256 of their secret.';
grant insert, select on artifact.token to artifact_server;
grant update (revoked_at) on artifact.token to artifact_server;

create table artifact.log_leaf (
  idx bigint not null,
  kind text not null,
  task text collate "C" not null,
  run integer not null,
  name text collate "C" not null,
  leaf bytea not null,
  leaf_hash bytea not null,
  constraint log_leaf_pkey PRIMARY KEY (idx) INCLUDE (leaf_hash),
  constraint log_leaf_task_run_name_fkey FOREIGN KEY (task, run, name) REFERENCES artifact.artifact(task, run, name),
  constraint log_leaf_check CHECK ((leaf_hash = sha256(('\x00'::bytea || leaf)))),
  constraint log_leaf_idx_check CHECK ((idx >= 0)),
  constraint log_leaf_kind_check CHECK ((kind = ANY (ARRAY['seal'::text, 'remove'::text, 'revoke'::text]))),
  constraint log_leaf_leaf_check CHECK (((octet_length(leaf) >= 1) AND (octet_length(leaf) <= 65535)))
);
comment on table artifact.log_leaf is 'Leaves of the log, in order. Insert only.';
CREATE INDEX log_leaf_later ON artifact.log_leaf USING btree (task, run, name, idx) WHERE (kind <> 'seal'::text);
CREATE UNIQUE INDEX log_leaf_seal ON artifact.log_leaf USING btree (task, run, name) WHERE (kind = 'seal'::text);
CREATE TRIGGER write_once BEFORE DELETE OR UPDATE ON artifact.log_leaf FOR EACH ROW EXECUTE FUNCTION artifact.refuse_change();
alter table artifact.log_leaf enable always trigger write_once;
CREATE TRIGGER write_once_all BEFORE TRUNCATE ON artifact.log_leaf FOR EACH STATEMENT EXECUTE FUNCTION artifact.refuse_change();
alter table artifact.log_leaf enable always trigger write_once_all;
grant select on artifact.log_leaf to artifact_reader;
grant insert, select on artifact.log_leaf to artifact_server;
grant select on artifact.log_leaf to artifact_signer;

create table artifact.log_node (
  level smallint not null,
  idx bigint not null,
  hash bytea not null,
  constraint log_node_pkey PRIMARY KEY (level, idx),
  constraint log_node_hash_check CHECK ((octet_length(hash) = 32)),
  constraint log_node_idx_check CHECK ((idx >= 0)),
  constraint log_node_level_check CHECK (((level >= 1) AND (level <= 7)))
);
comment on table artifact.log_node is 'Roots of full tiles. Insert only.';
CREATE TRIGGER write_once BEFORE DELETE OR UPDATE ON artifact.log_node FOR EACH ROW EXECUTE FUNCTION artifact.refuse_change();
alter table artifact.log_node enable always trigger write_once;
CREATE TRIGGER write_once_all BEFORE TRUNCATE ON artifact.log_node FOR EACH STATEMENT EXECUTE FUNCTION artifact.refuse_change();
alter table artifact.log_node enable always trigger write_once_all;
grant select on artifact.log_node to artifact_reader;
grant insert, select on artifact.log_node to artifact_server;
grant select on artifact.log_node to artifact_signer;

create table artifact.log_tree (
  size bigint not null,
  prev_size bigint,
  root bytea not null,
  frontier bytea not null,
  last_idx bigint,
  constraint log_tree_pkey PRIMARY KEY (size),
  constraint log_tree_prev_size_key UNIQUE (prev_size),
  constraint log_tree_last_idx_fkey FOREIGN KEY (last_idx) REFERENCES artifact.log_leaf(idx),
  constraint log_tree_prev_size_fkey FOREIGN KEY (prev_size) REFERENCES artifact.log_tree(size),
  constraint log_tree_check CHECK ((((size = 0) AND (prev_size IS NULL) AND (last_idx IS NULL)) OR ((prev_size IS NOT NULL) AND (size > prev_size) AND (last_idx IS NOT NULL) AND (last_idx = (size - 1))))),
  constraint log_tree_frontier_check CHECK (((octet_length(frontier) % 32) = 0)),
  constraint log_tree_root_check CHECK ((octet_length(root) = 32)),
  constraint log_tree_size_check CHECK ((size >= 0))
);
comment on table artifact.log_tree is 'The tree after every batch, each following the one before. Insert only.';
CREATE TRIGGER write_once BEFORE DELETE OR UPDATE ON artifact.log_tree FOR EACH ROW EXECUTE FUNCTION artifact.refuse_change();
alter table artifact.log_tree enable always trigger write_once;
CREATE TRIGGER write_once_all BEFORE TRUNCATE ON artifact.log_tree FOR EACH STATEMENT EXECUTE FUNCTION artifact.refuse_change();
alter table artifact.log_tree enable always trigger write_once_all;
grant select on artifact.log_tree to artifact_reader;
grant insert, select on artifact.log_tree to artifact_server;
grant select on artifact.log_tree to artifact_signer;

create table artifact.log_checkpoint (
  origin text not null,
  size bigint not null,
  note text not null,
  cosignatures smallint not null default 0,
  signed_at timestamp with time zone not null default now(),
  constraint log_checkpoint_pkey PRIMARY KEY (origin, size, cosignatures),
  constraint log_checkpoint_size_fkey FOREIGN KEY (size) REFERENCES artifact.log_tree(size),
  constraint log_checkpoint_cosignatures_check CHECK ((cosignatures >= 0)),
  constraint log_checkpoint_note_check CHECK ((octet_length(note) <= 65536)),
  constraint log_checkpoint_origin_check CHECK (((octet_length(origin) >= 1) AND (octet_length(origin) <= 255)))
);
comment on table artifact.log_checkpoint is 'Signed heads of the log. Insert only, by the signer.';
CREATE INDEX log_checkpoint_by_time ON artifact.log_checkpoint USING btree (origin, signed_at DESC, size DESC);
CREATE TRIGGER write_once BEFORE DELETE OR UPDATE ON artifact.log_checkpoint FOR EACH ROW EXECUTE FUNCTION artifact.refuse_change();
alter table artifact.log_checkpoint enable always trigger write_once;
CREATE TRIGGER write_once_all BEFORE TRUNCATE ON artifact.log_checkpoint FOR EACH STATEMENT EXECUTE FUNCTION artifact.refuse_change();
alter table artifact.log_checkpoint enable always trigger write_once_all;
grant select on artifact.log_checkpoint to artifact_reader;
grant select on artifact.log_checkpoint to artifact_server;
grant insert, select on artifact.log_checkpoint to artifact_signer;

create table artifact.log_key (
  origin text not null,
  vkey text not null,
  since timestamp with time zone not null default now(),
  constraint log_key_pkey PRIMARY KEY (origin, vkey),
  constraint log_key_origin_check CHECK (((octet_length(origin) >= 1) AND (octet_length(origin) <= 255))),
  constraint log_key_vkey_check CHECK ((octet_length(vkey) <= 1024))
);
comment on table artifact.log_key is 'Keys that have signed for this log, the newest last. Insert only, by the signer.';
CREATE TRIGGER write_once BEFORE DELETE OR UPDATE ON artifact.log_key FOR EACH ROW EXECUTE FUNCTION artifact.refuse_change();
alter table artifact.log_key enable always trigger write_once;
CREATE TRIGGER write_once_all BEFORE TRUNCATE ON artifact.log_key FOR EACH STATEMENT EXECUTE FUNCTION artifact.refuse_change();
alter table artifact.log_key enable always trigger write_once_all;
grant select on artifact.log_key to artifact_reader;
grant select on artifact.log_key to artifact_server;
grant insert, select on artifact.log_key to artifact_signer;

create table artifact.sign_in (
  secret_sha256 bytea not null,
  kind text not null,
  token_id uuid not null,
  created_at timestamp with time zone not null,
  expires_at timestamp with time zone not null,
  constraint sign_in_pkey PRIMARY KEY (secret_sha256),
  constraint sign_in_token_id_fkey FOREIGN KEY (token_id) REFERENCES artifact.token(id),
  constraint sign_in_check CHECK ((expires_at > created_at)),
  constraint sign_in_kind_check CHECK ((kind = ANY (ARRAY['session'::text, 'link'::text]))),
  constraint sign_in_secret_sha256_check CHECK ((octet_length(secret_sha256) = 32))
);
comment on table artifact.sign_in is 'Sessions of browsers and one-time links, by the SHA-256 of their secret. A link is deleted by its use.';
CREATE INDEX sign_in_by_end ON artifact.sign_in USING btree (expires_at);
grant delete, insert, select on artifact.sign_in to artifact_server;

create table artifact.verification (
  task text collate "C" not null,
  run integer not null,
  name text collate "C" not null,
  at timestamp with time zone not null,
  outcome text not null,
  code text,
  expected text,
  found text,
  bytes bigint not null,
  seconds double precision not null,
  server uuid not null,
  constraint verification_pkey PRIMARY KEY (task, run, name, at),
  constraint verification_task_run_name_fkey FOREIGN KEY (task, run, name) REFERENCES artifact.artifact(task, run, name),
  constraint verification_bytes_check CHECK ((bytes >= 0)),
  constraint verification_check CHECK (((outcome = 'agreed'::text) = (code IS NULL))),
  constraint verification_outcome_check CHECK ((outcome = ANY (ARRAY['agreed'::text, 'mismatch'::text, 'missing'::text]))),
  constraint verification_seconds_check CHECK ((seconds >= (0)::double precision))
);
comment on table artifact.verification is 'Every time that stored bytes were read again and compared with the record. Insert only.';
CREATE INDEX verification_fault ON artifact.verification USING btree (at DESC) WHERE (outcome <> 'agreed'::text);
CREATE TRIGGER write_once BEFORE DELETE OR UPDATE ON artifact.verification FOR EACH ROW EXECUTE FUNCTION artifact.refuse_change();
alter table artifact.verification enable always trigger write_once;
CREATE TRIGGER write_once_all BEFORE TRUNCATE ON artifact.verification FOR EACH STATEMENT EXECUTE FUNCTION artifact.refuse_change();
alter table artifact.verification enable always trigger write_once_all;
grant select on artifact.verification to artifact_reader;
grant insert, select on artifact.verification to artifact_server;

create table artifact.verification_turn (
  idx bigint not null,
  seen_at timestamp with time zone not null,
  constraint verification_turn_pkey PRIMARY KEY (idx)
);
comment on table artifact.verification_turn is 'Whose turn it is to be read again, oldest first. Follows from the record, and proves nothing.';
CREATE INDEX verification_turn_by_age ON artifact.verification_turn USING btree (seen_at, idx);
grant select on artifact.verification_turn to artifact_reader;
grant insert, select, update on artifact.verification_turn to artifact_server;

create table artifact.log_scrub (
  tile bigint not null,
  checked_at timestamp with time zone not null,
  leaves integer not null,
  faults text[] not null default '{}'::text[],
  faulty_at timestamp with time zone,
  constraint log_scrub_pkey PRIMARY KEY (tile),
  constraint log_scrub_leaves_check CHECK (((leaves >= 0) AND (leaves <= 256))),
  constraint log_scrub_tile_check CHECK ((tile >= 0))
);
comment on table artifact.log_scrub is 'When each tile of the log was hashed again, and what was found.';
CREATE INDEX log_scrub_by_age ON artifact.log_scrub USING btree (checked_at);
CREATE INDEX log_scrub_fault ON artifact.log_scrub USING btree (faulty_at) WHERE (faulty_at IS NOT NULL);
grant select on artifact.log_scrub to artifact_reader;
grant insert, select, update on artifact.log_scrub to artifact_server;

create table artifact.pack (
  id uuid not null,
  due_at timestamp with time zone,
  constraint pack_pkey PRIMARY KEY (id)
);
comment on table artifact.pack is 'Objects with many small blobs. Noted before they are stored, so that none can be lost sight of.';
CREATE INDEX pack_due ON artifact.pack USING btree (due_at) WHERE (due_at IS NOT NULL);
grant select on artifact.pack to artifact_reader;
grant delete, insert, select, update on artifact.pack to artifact_server;

create table artifact.packed_blob (
  blob_key text collate "C" not null,
  pack uuid not null,
  first_byte bigint not null,
  size_bytes integer not null,
  sha256 bytea not null,
  own_tag text,
  constraint packed_blob_pkey PRIMARY KEY (blob_key),
  constraint packed_blob_pack_fkey FOREIGN KEY (pack) REFERENCES artifact.pack(id),
  constraint packed_blob_first_byte_check CHECK ((first_byte >= 0)),
  constraint packed_blob_sha256_check CHECK ((octet_length(sha256) = 32)),
  constraint packed_blob_size_bytes_check CHECK ((size_bytes >= 0))
);
comment on table artifact.packed_blob is 'Which pack has the bytes of a small blob, and where.';
CREATE INDEX packed_blob_by_pack ON artifact.packed_blob USING btree (pack);
grant select on artifact.packed_blob to artifact_reader;
grant delete, insert, select, update on artifact.packed_blob to artifact_server;
