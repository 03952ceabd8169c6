/** The records beside the notes of places, for the rebuild of the index of packs. */
import type { Clock } from '../clock.ts'
import type { Adoption, KnownBlob, PackCensus, Standing } from '../stores/pack-census.ts'
import { formatPackedTag, type PackPlace } from '../stores/pack-index.ts'
import type { AnySql, Sql } from './database.ts'

/** Records that one statement looks through, well within the time limit of one. */
const RECORDS_AT_ONCE = 5000

/** The census of the blobs of packs in this database. */
export function createPackCensus(sql: Sql, clock: Clock): PackCensus {
  return {
    async isNoted(pack) {
      return (await sql`select from artifact.pack where id = ${pack}`).length > 0
    },

    async look(keys) {
      const rows = await sql<KnownRow[]>`
        select wanted.key, sealed.task, sealed.run, sealed.name, sealed.blob_tag as "tag",
          encode(sealed.sha256, 'hex') as "sealedSha256",
          exists (
            select from artifact.log_leaf as leaf
            where leaf.task = sealed.task and leaf.run = sealed.run and leaf.name = sealed.name
              and leaf.kind = 'remove'
          ) as "isRemoved",
          upload.state, encode(coalesce(upload.claimed_sha256, upload.sha256), 'hex') as "claimedSha256",
          place.pack, place.first_byte as "firstByte", place.size_bytes as "sizeBytes",
          encode(place.sha256, 'hex') as sha256, place.own_tag as "ownTag"
        from unnest(${[...keys]}::text[]) as wanted (key)
        left join artifact.artifact as sealed on sealed.blob_key = wanted.key
        left join artifact.upload as upload on upload.blob_key = wanted.key
        left join artifact.packed_blob as place on place.blob_key = wanted.key`
      return new Map(rows.map((row) => [row.key, parseKnown(row)]))
    },

    async adopt(pack, adoption) {
      const isAdopted = await sql.begin((tx) => adopt(tx, clock, pack, adoption))
      if (isAdopted) await forgetRemoved(sql, clock, pack, adoption)
      return isAdopted
    },

    async listPacks(after, limit) {
      const rows = await sql<{ id: string }[]>`
        select id from artifact.pack
        where exists (select from artifact.packed_blob where pack = id)
          ${after === undefined ? sql`` : sql`and id > ${after}`}
        order by id limit ${limit}`
      return rows.map(({ id }) => id)
    },

    async listKeys(pack) {
      const rows = await sql<{ key: string }[]>`
        select blob_key as key from artifact.packed_blob where pack = ${pack}`
      return rows.map(({ key }) => key)
    },

    async forgetPlaces(pack, keys) {
      const { count } = await sql`
        with noted as materialized (
          select id from artifact.pack where id = ${pack} for no key update
        ),
        held as materialized (
          select blob_key from artifact.packed_blob
          where pack = (select id from noted) and blob_key = any(${[...keys]})
          order by blob_key for update
        ),
        forgotten as (
          delete from artifact.packed_blob as blob using held
          where blob.blob_key = held.blob_key and blob.pack = ${pack} returning blob.blob_key
        ),
        due as (
          update artifact.pack set due_at = coalesce(due_at, ${clock()}::timestamptz)
          where id = ${pack} and exists (select from forgotten)
        )
        select from forgotten`
      return count
    },

    async listUnplaced(after) {
      const [row] = await sql<[{ references: string[]; next: string | null }]>`
        with page as (
          select task, run, name, blob_key, blob_tag from artifact.artifact
          ${after === undefined ? sql`` : sql`where blob_key > ${after}`}
          order by blob_key limit ${RECORDS_AT_ONCE}
        )
        select max(page.blob_key) as next, array(
          select page.task || '/' || page.run || '/' || page.name from page
          where page.blob_tag like '"sha256-%'
            and not exists (select from artifact.packed_blob where blob_key = page.blob_key)
            and not exists (
              select from artifact.log_leaf as leaf
              where leaf.task = page.task and leaf.run = page.run and leaf.name = page.name
                and leaf.kind = 'remove')
          order by page.task, page.run, page.name
        ) as references
        from page`
      return { references: row.references, next: row.next ?? undefined }
    },
  }
}

async function adopt(
  tx: AnySql,
  clock: Clock,
  pack: string,
  { places, isSpare, isTaken }: Adoption,
): Promise<boolean> {
  const now = clock()
  await tx`insert into artifact.pack (id) values (${pack}) on conflict do nothing`
  const [note] = await tx<[{ dueAt: Date | null }?]>`
    select due_at as "dueAt" from artifact.pack where id = ${pack} for no key update`
  if (note === undefined) return false
  // Somebody else decides at this moment what becomes of it.
  if (!isTaken && note.dueAt !== null && note.dueAt > now) return false
  await tx`
    with new as (
      select * from unnest(
        ${places.map(({ key }) => key)}::text[], ${places.map(({ instead }) => instead ?? null)}::uuid[],
        ${places.map(({ firstByte }) => firstByte)}::bigint[],
        ${places.map(({ sizeBytes }) => sizeBytes)}::int[], ${places.map(({ sha256 }) => sha256)}::text[]
      ) as new (key, instead, first_byte, size_bytes, sha256)
    ),
    held as materialized (
      select blob.blob_key from artifact.packed_blob as blob
      join new on blob.blob_key = new.key and blob.pack = new.instead
      order by blob.blob_key for no key update of blob
    ),
    moved as (
      update artifact.packed_blob as blob set pack = ${pack}, first_byte = new.first_byte,
        size_bytes = new.size_bytes, sha256 = decode(new.sha256, 'hex')
      from new, held
      where blob.blob_key = held.blob_key and blob.blob_key = new.key and blob.pack = new.instead
    )
    insert into artifact.packed_blob (blob_key, pack, first_byte, size_bytes, sha256)
    select key, ${pack}, first_byte, size_bytes, decode(sha256, 'hex') from new where instead is null
    -- In one order for all: two that place the same blobs wait for each other, not in a circle.
    order by key
    on conflict do nothing`
  if (isSpare)
    await tx`
      update artifact.pack set due_at = coalesce(due_at, ${now}::timestamptz) where id = ${pack}`
  return true
}

/**
 * A removal is said in the log before its place is forgotten. One that was said after the look is seen
 * here, and one that is said after this statement finds the place to forget. Either way the bytes in
 * this pack are to be erased, also where the place was forgotten in another.
 */
async function forgetRemoved(
  sql: Sql,
  clock: Clock,
  pack: string,
  { places }: Adoption,
): Promise<void> {
  await sql`
    with removed as materialized (
      select sealed.blob_key from artifact.artifact as sealed
      join artifact.log_leaf as leaf using (task, run, name)
      where sealed.blob_key = any(${places.map(({ key }) => key)}) and leaf.kind = 'remove'
    ),
    noted as materialized (
      select id from artifact.pack
      where id = ${pack} and exists (select from removed) for no key update
    ),
    held as materialized (
      select blob_key from artifact.packed_blob
      where pack = (select id from noted) and blob_key in (select blob_key from removed)
      order by blob_key for update
    ),
    forgotten as (
      delete from artifact.packed_blob as blob using held
      where blob.blob_key = held.blob_key and blob.pack = ${pack}
    )
    update artifact.pack as pack set due_at = coalesce(pack.due_at, ${clock()}::timestamptz)
    from noted where pack.id = noted.id`
}

interface KnownRow {
  key: string
  /** Of the artifact; null when there is none. */
  task: string | null
  run: number | null
  name: string | null
  tag: string | null
  sealedSha256: string | null
  isRemoved: boolean
  /** Of the upload; null when there is none. */
  state: string | null
  claimedSha256: string | null
  /** Of the place; null when there is none. */
  pack: string | null
  firstByte: bigint | null
  sizeBytes: number | null
  sha256: string | null
  ownTag: string | null
}

function parseKnown(row: KnownRow): KnownBlob {
  return { standing: parseStanding(row), place: parsePlace(row) }
}

function parseStanding(row: KnownRow): Standing {
  const { sealedSha256: sha256, state } = row
  if (sha256 !== null) {
    // One that came alone is an object, whichever packs have it too.
    if (row.isRemoved || row.tag !== formatPackedTag(sha256)) return { kind: 'over' }
    return { kind: 'sealed', sha256, reference: `${row.task}/${row.run}/${row.name}` }
  }
  if (state === null) return { kind: 'unknown' }
  if (state !== 'open' && state !== 'verifying') return { kind: 'over' }
  return { kind: 'open', sha256: row.claimedSha256 ?? undefined }
}

function parsePlace({ key, ...row }: KnownRow): PackPlace | undefined {
  const { pack, firstByte, sizeBytes, sha256, ownTag } = row
  if (pack === null || firstByte === null || sizeBytes === null || sha256 === null) return undefined
  return { key, pack, firstByte: Number(firstByte), sizeBytes, sha256, ownTag: ownTag ?? undefined }
}
