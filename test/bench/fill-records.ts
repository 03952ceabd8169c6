/**
 * Records by the million, made by Postgres itself: rows that satisfy every constraint, with the
 * leaves, tiles and trees of the log that belong to them. No bytes are in any store.
 *
 * Of every ten records
 * - eight are of `backup-NNN`: 400 tasks, four names a run;
 * - one is of the single run of `archive`, which has a tenth of all records;
 * - one is of `turtle-db`, which has a twentieth of all records as runs of two names.
 *
 * Record `i` of `n` was sealed `n - i` minutes before `until`, and is leaf `i`.
 */
import { createFrontier } from '../../client/verify/frontier.ts'
import type { Hash } from '../../client/verify/merkle.ts'
import { openDatabase, type Sql } from '../../server/records/database.ts'
import { readHashes } from '../../server/records/log.ts'

export interface Filling {
  /** Records to make, a multiple of ten. */
  rows: number
  /** When the last one was sealed. */
  until: Date
  /** Trees to make of the leaves, each a batch of its own; the log then has a history. */
  batches: number
}

/** A tree after one of the batches. */
export interface FilledTree {
  size: number
  root: Hash
  at: Date
}

const PART_BYTES = 16_777_216
const ROWS_AT_ONCE = 100_000
const HASHES_AT_ONCE = 50_000
/**
 * Indexes whose keys come in no order. Kept up to date row by row they would cost a read and a write
 * of the disk for every row, once they are larger than the memory.
 */
const SCATTERED = [
  { index: 'artifact_blob_key_key', column: 'blob_key', isUnique: true },
  { index: 'artifact_upload_id_key', column: 'upload_id', isUnique: true },
  { index: 'artifact_sha256', column: 'sha256', isUnique: false },
]
/** Percent of a page that is full in an index that grew by keys in no order. */
const GROWN_FILL = 70

/** Fills an empty, migrated database, as superuser. Returns the trees, the smallest first. */
export async function fillRecords(adminUrl: string, filling: Filling): Promise<FilledTree[]> {
  await using database = await openDatabase({
    url: adminUrl,
    connectionsMax: 1,
    statementTimeoutSeconds: 3600,
  })
  const admin = database.sql
  await dropScattered(admin)
  for (let start = 0; start < filling.rows; start += ROWS_AT_ONCE)
    await fillTables(admin, filling, start, Math.min(start + ROWS_AT_ONCE, filling.rows))
  await makeScattered(admin)
  const trees = await growTree(admin, filling)
  await admin`vacuum analyze`
  return trees
}

async function dropScattered(admin: Sql): Promise<void> {
  for (const { index, isUnique } of SCATTERED)
    if (isUnique) await admin`alter table artifact.artifact drop constraint ${admin(index)}`
    else await admin`drop index artifact.${admin(index)}`
}

/** Makes them as they are by the migrations, with as many pages as if they had grown. */
async function makeScattered(admin: Sql): Promise<void> {
  await admin`set maintenance_work_mem = '1GB'`
  for (const { index, column, isUnique } of SCATTERED) {
    await admin`
      create ${isUnique ? admin`unique` : admin``} index ${admin(index)}
      on artifact.artifact (${admin(column)}) with (fillfactor = ${admin.unsafe(String(GROWN_FILL))})`
    await admin`alter index artifact.${admin(index)} reset (fillfactor)`
    if (isUnique)
      await admin`
        alter table artifact.artifact
        add constraint ${admin(index)} unique using index ${admin(index)}`
  }
}

/** Records `[start, end)` with their leaves. */
async function fillTables(
  admin: Sql,
  { rows, until }: Filling,
  start: number,
  end: number,
): Promise<void> {
  await admin.begin(async (tx) => {
    await tx`set local synchronous_commit = off`
    // Foreign keys hold by construction, and their look-ups would take half of the time.
    await tx`set local session_replication_role = replica`
    await tx`
      create temporary table wanted on commit drop as
      select i, task, run, name, size, digest,
        case parts when 1 then digest else decode(repeat(encode(digest, 'hex'), parts), 'hex') end as part_sha256s,
        date_trunc('milliseconds', ${until}::timestamptz - (${rows}::bigint - i) * interval '1 minute') as at,
        overlay(overlay(md5('upload ' || i) placing '4' from 13) placing '8' from 17)::uuid as upload
      from generate_series(${start}::bigint, ${end}::bigint - 1) as i
      cross join lateral (select i / 10 as ten, (i / 10) * 8 + i % 10 as many) as place
      cross join lateral (
        select
          case when i % 10 < 8 then 'backup-' || lpad((many / 4 % 400)::text, 3, '0')
            when i % 10 = 8 then 'archive' else 'turtle-db' end as task,
          (case when i % 10 < 8 then many / 1600 when i % 10 = 8 then 0 else ten / 2 end)::int as run,
          case when i % 10 < 8 then (array['db.dump', 'files.tar', 'logs/backup.txt', 'manifest.json'])[many % 4 + 1]
            when i % 10 = 8 then 'volumes/' || lpad((ten / 1000)::text, 4, '0') || '/' || lpad(ten::text, 7, '0') || '.bin'
            else (array['db.dump', 'schema.sql'])[ten % 2 + 1] end as name,
          case when i % 10 = 9 and ten % 2 = 0
            -- Grows a little every night, and halves once in a hundred.
            then (1200000000 + ten * 3000) / case when ten / 2 % 100 = 93 then 2 else 1 end
            else 2000 + (i * 7919) % 9000000 end as size
      ) as shape
      cross join lateral (
        select sha256(convert_to('content ' || i, 'UTF8')) as digest,
          ((size + ${PART_BYTES - 1}) / ${PART_BYTES})::int as parts
      ) as content`
    await tx`
      insert into artifact.task (task, opened_at)
      select task, min(at) from wanted group by task on conflict do nothing`
    await tx`
      insert into artifact.run (task, run, opened_at)
      select task, run, min(at) from wanted group by task, run order by min(at) on conflict do nothing`
    await tx`
      insert into artifact.artifact (
        task, run, name, sha256, size, part_size, part_sha256s, content_type, labels, policy, store,
        blob_key, blob_tag, upload_id, opened_at, sealed_at, sealed_by_token, sealed_by_name)
      select task, run, name, digest, size, ${PART_BYTES},
        part_sha256s,
        'application/octet-stream', '{}', 'reread', 'file', 'blobs/' || left(upload::text, 2) || '/' || upload, 'tag',
        upload, at - (30 + size / 40000000 + i % 7) * interval '1 second', at,
        '00000000-0000-4000-8000-000000000001', 'nightly'
      from wanted order by i`
    await tx`
      insert into artifact.log_leaf (idx, kind, task, run, name, leaf, leaf_hash)
      select i, 'seal', task, run, name, leaf, sha256('\\x00'::bytea || leaf)
      from wanted
      cross join lateral (select convert_to(concat_ws(e'\n',
        'artifact-log/v1 seal', 'name ' || task || '/' || run || '/' || name,
        'sha256 ' || encode(digest, 'hex'), 'size ' || size,
        'parts ' || ${PART_BYTES}::int || ' ' || encode(sha256(part_sha256s), 'hex'),
        'type application/octet-stream', 'labels ' || encode(sha256(''::bytea), 'hex'),
        'policy reread',
        'time ' || to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        'by 00000000-0000-4000-8000-000000000001', ''), 'UTF8') as leaf) as spelt
      order by i`
  })
}

/** The trees and the roots of full tiles, by the same code that appends. */
async function growTree(admin: Sql, { rows, until, batches }: Filling): Promise<FilledTree[]> {
  const frontier = createFrontier()
  const trees: FilledTree[] = []
  const sizes = new Set(
    Array.from({ length: batches }, (_, index) => Math.round((rows * (index + 1)) / batches)),
  )
  for (let start = 0; start < rows; start += HASHES_AT_ONCE) {
    const nodes: { level: number; idx: number; hash: string }[] = []
    for (const hash of await readHashes(admin, 0, start, Math.min(start + HASHES_AT_ONCE, rows))) {
      for (const root of frontier.append(hash))
        nodes.push({ ...root, idx: root.index, hash: Buffer.from(root.hash).toString('hex') })
      if (!sizes.has(frontier.size)) continue
      const { size, root } = frontier.head()
      const at = new Date(until.getTime() - (rows - size) * 60_000)
      await admin`
        insert into artifact.log_tree (size, prev_size, root, frontier, last_idx)
        values (${size}, ${trees.at(-1)?.size ?? 0}, ${Buffer.from(root)},
          ${Buffer.concat(frontier.hashes)}, ${size - 1})`
      trees.push({ size, root, at })
    }
    await admin`
      insert into artifact.log_node (level, idx, hash)
      select level, idx, decode(hash, 'hex')
      from jsonb_to_recordset(${admin.json(nodes)}) as new (level int, idx bigint, hash text)`
  }
  return trees
}
