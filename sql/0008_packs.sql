-- Where small blobs lie in a store that keeps many of them in one object, a pack.
--
-- These are notes, not records: the server may change and delete them, and breaks no promise by it.
-- What the bytes are is said by the SHA-256 of the sealed record alone, and every reader compares. A
-- wrong note leads to bytes that are refused, a lost one to bytes that are not found; none can pass
-- other bytes off as the artifact. Every pack repeats its own part of the notes.

create table artifact.pack (
  -- Names the object in the store.
  id uuid primary key,
  -- When somebody has to look after it, since it may hold what nobody needs; null: never.
  due_at timestamptz
);
comment on table artifact.pack is
  'Objects with many small blobs. Noted before they are stored, so that none can be lost sight of.';
create index pack_due on artifact.pack (due_at) where due_at is not null;

create table artifact.packed_blob (
  blob_key text collate "C" primary key,
  -- Noted once the store has acknowledged the pack.
  pack uuid not null references artifact.pack (id),
  first_byte bigint not null check (first_byte >= 0),
  size_bytes integer not null check (size_bytes >= 0),
  sha256 bytea not null check (octet_length(sha256) = 32),
  -- The ETag of the blob's own object; null while it has none.
  own_tag text
);
comment on table artifact.packed_blob is 'Which pack has the bytes of a small blob, and where.';
create index packed_blob_by_pack on artifact.packed_blob (pack);

grant select, insert, update, delete on artifact.pack, artifact.packed_blob to artifact_server;
grant select on artifact.pack, artifact.packed_blob to artifact_reader;
