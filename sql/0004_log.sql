-- The transparency log: every sealed artifact is a leaf of an RFC 6962 tree, inserted in the same
-- transaction as its record. Insert only, also for the machinery: there is no mutable head, the tree
-- is a chain of rows, and no partial tile is ever stored.

create table artifact.log_leaf (
  -- Given out by the sequencer under its lock, without gaps; never by a sequence.
  idx bigint primary key check (idx >= 0),
  kind text not null check (kind in ('seal', 'remove', 'revoke')),
  task text collate "C" not null,
  run integer not null,
  name text collate "C" not null,
  -- The canonical bytes; what is hashed, proved and believed.
  leaf bytea not null check (octet_length(leaf) between 1 and 65535),
  leaf_hash bytea not null check (leaf_hash = sha256('\x00'::bytea || leaf)),
  foreign key (task, run, name) references artifact.artifact (task, run, name)
);
comment on table artifact.log_leaf is 'Leaves of the log, in order. Insert only.';
create unique index log_leaf_seal on artifact.log_leaf (task, run, name) where kind = 'seal';
create index log_leaf_later on artifact.log_leaf (task, run, name, idx) where kind <> 'seal';

create table artifact.log_node (
  -- Level 1: the root of 256 leaves; level 2: of 256 such roots; and so on.
  level smallint not null check (level between 1 and 7),
  idx bigint not null check (idx >= 0),
  hash bytea not null check (octet_length(hash) = 32),
  primary key (level, idx)
);
comment on table artifact.log_node is 'Roots of full tiles. Insert only.';

create table artifact.log_tree (
  size bigint primary key check (size >= 0),
  -- Two batches can never follow the same tree.
  prev_size bigint unique references artifact.log_tree (size),
  root bytea not null check (octet_length(root) = 32),
  -- Roots of the complete subtrees that make up the tree, the largest first, 32 bytes each.
  frontier bytea not null check (octet_length(frontier) % 32 = 0),
  last_idx bigint references artifact.log_leaf (idx),
  check (
    (size = 0 and prev_size is null and last_idx is null)
    or (prev_size is not null and size > prev_size and last_idx is not null and last_idx = size - 1)
  )
);
comment on table artifact.log_tree is 'The tree after every batch, each following the one before. Insert only.';
insert into artifact.log_tree (size, prev_size, root, frontier) values (0, null, sha256(''::bytea), ''::bytea);

create table artifact.log_checkpoint (
  -- After a restore that lost a tail the log goes on under a new origin, with heads of its own.
  origin text not null check (octet_length(origin) between 1 and 255),
  size bigint not null references artifact.log_tree (size),
  -- A signed note (C2SP signed-note) whose text is a checkpoint (C2SP tlog-checkpoint).
  note text not null check (octet_length(note) <= 65536),
  -- How many witnesses cosigned: the same head comes again when more of them have.
  cosignatures smallint not null default 0 check (cosignatures >= 0),
  signed_at timestamptz not null default now(),
  primary key (origin, size, cosignatures)
);
comment on table artifact.log_checkpoint is 'Signed heads of the log. Insert only, by the signer.';

create table artifact.log_key (
  origin text not null check (octet_length(origin) between 1 and 255),
  -- The public key in the form of C2SP signed-note, for first contact; trust is the client's to give.
  vkey text not null check (octet_length(vkey) <= 1024),
  since timestamptz not null default now(),
  primary key (origin, vkey)
);
comment on table artifact.log_key is 'Keys that have signed for this log, the newest last. Insert only, by the signer.';

do $$
declare
  sealed text;
begin
  foreach sealed in array array['log_leaf', 'log_node', 'log_tree', 'log_checkpoint', 'log_key'] loop
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
    execute format('grant select on artifact.%I to artifact_server, artifact_signer, artifact_reader', sealed);
  end loop;
end
$$;
grant insert on artifact.log_leaf, artifact.log_node, artifact.log_tree to artifact_server;
-- The signer needs to see what it signs, and what the rows say beside the leaves.
grant insert on artifact.log_checkpoint, artifact.log_key to artifact_signer;
grant select on artifact.artifact to artifact_signer;
