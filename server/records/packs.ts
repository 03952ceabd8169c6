/** Notes of where small blobs lie. They may be changed and deleted: nothing that was sealed rests on them. */
import { ArtifactError } from '../../schemas/problems.ts'
import type { Clock } from '../clock.ts'
import type { PackBook } from '../stores/pack-census.ts'
import type { PackPlace, PackSlice } from '../stores/pack-index.ts'
import type { AnySql, Sql } from './database.ts'
import { createPackCensus } from './pack-census.ts'

/** S3 takes a header-signed request for 15 minutes: until then an object may still come to be. */
const LATE_SECONDS = 16 * 60
/** Who looks after a pack has it for so long; whoever comes then finds what is left to do. */
const TAKEN_SECONDS = 60

/**
 * The index of packs in this database, beside its records.
 *
 * Whoever changes it locks packs before places, packs in the order of their ids and places in that of
 * their keys: those who are at the same pack wait for each other, never in a circle.
 */
export function createPackIndex(sql: Sql, clock: Clock): PackBook {
  const inSeconds = (seconds: number) => new Date(clock().getTime() + seconds * 1000)
  /**
   * When packs are due that are on their way. One that is due at another time was taken by a server
   * whose clock is ahead, and its object may be gone in a moment: nothing may be placed there any more.
   */
  const announced = new Map<string, Date>()
  const announcedAt = (pack: string) => announced.get(pack) ?? null
  return {
    census: createPackCensus(sql, clock),

    async announce(pack) {
      const dueAt = inSeconds(LATE_SECONDS)
      await sql`insert into artifact.pack (id, due_at) values (${pack}, ${dueAt})`
      // Those that were never put are nobody's any more.
      for (const [id, at] of announced) if (at <= clock()) announced.delete(id)
      announced.set(pack, dueAt)
    },

    async place(pack, slices) {
      const [kept] = await sql`
        with noted as (
          select id from artifact.pack
          where id = ${pack} and due_at = ${announcedAt(pack)}::timestamptz for no key update
        ),
        placed as (
          insert into artifact.packed_blob (blob_key, pack, first_byte, size_bytes, sha256)
          select key, noted.id, first_byte, size_bytes, decode(sha256, 'hex')
          from noted, ${unnest(sql, slices)}
          -- In one order for all: two that place the same blobs wait for each other, not in a circle.
          order by key
          on conflict do nothing
          returning blob_key
        )
        update artifact.pack set due_at =
          case when (select count(*) from placed) = ${slices.length} then null else ${clock()}::timestamptz end
        where id = (select id from noted) returning id`
      announced.delete(pack)
      if (kept === undefined) throw givenUp(pack)
    },

    async find(keys) {
      const rows = await sql<PlaceRow[]>`
        select blob_key as key, pack, first_byte as "firstByte", size_bytes as "sizeBytes",
          encode(sha256, 'hex') as sha256, own_tag as "ownTag"
        from artifact.packed_blob where blob_key = any(${[...keys]})`
      return rows.map(parsePlace)
    },

    async keepOwn(key, tag) {
      const rows = await sql`
        update artifact.packed_blob set own_tag = ${tag} where blob_key = ${key} returning blob_key`
      return rows.length === 1
    },

    async forget(key) {
      for (;;) {
        const [place] = await sql<[{ pack: string }?]>`
          select pack from artifact.packed_blob where blob_key = ${key}`
        if (place === undefined) return undefined
        // Whoever has taken the pack meanwhile finds the blob gone when he moves the others.
        const [row] = await sql<[{ id: string }?]>`
          with noted as materialized (
            select id from artifact.pack where id = ${place.pack} for no key update
          ),
          forgotten as (
            delete from artifact.packed_blob
            where blob_key = ${key} and pack = (select id from noted) returning pack
          )
          update artifact.pack set due_at = coalesce(due_at, ${clock()}::timestamptz) from forgotten
          where id = forgotten.pack returning id`
        // None: it was moved to another pack since, or somebody else has forgotten it.
        if (row !== undefined) return row.id
      }
    },

    async findDue(limit) {
      const rows = await sql<{ id: string }[]>`
        select id from artifact.pack where due_at <= ${clock()} order by due_at limit ${limit}`
      return rows.map(({ id }) => id)
    },

    async take(pack) {
      const taken = await sql`
        update artifact.pack set due_at = ${inSeconds(TAKEN_SECONDS)}
        where id = ${pack} and due_at <= ${clock()} returning id`
      if (taken.length === 0) return undefined
      const rows = await sql<PlaceRow[]>`
        select blob_key as key, pack, first_byte as "firstByte", size_bytes as "sizeBytes",
          encode(sha256, 'hex') as sha256, own_tag as "ownTag"
        from artifact.packed_blob where pack = ${pack} order by first_byte`
      return rows.map(parsePlace)
    },

    async move(from, to, slices) {
      const rows = await sql`
        with both_packs as materialized (
          select id, due_at from artifact.pack where id in (${from}, ${to}) order by id for no key update
        ),
        noted as materialized (
          select id from both_packs where id = ${to} and due_at = ${announcedAt(to)}::timestamptz
        ),
        held as (
          select blob_key from artifact.packed_blob
          where pack = ${from} and blob_key = any(${slices.map(({ key }) => key)})
            and exists (select from noted)
          order by blob_key for no key update
        ),
        moved as (
          update artifact.packed_blob as blob set pack = ${to}, first_byte = new.first_byte
          from held, ${unnest(sql, slices)}
          where blob.blob_key = held.blob_key and new.key = held.blob_key
          returning blob.blob_key
        )
        update artifact.pack set due_at =
          case when id = ${to} and (select count(*) from moved) = ${slices.length}
            then null else ${clock()}::timestamptz end
        where id in (${from}, ${to}) and exists (select from noted) returning id`
      announced.delete(to)
      if (rows.length === 0) throw givenUp(to)
    },

    async drop(pack) {
      await sql`
        delete from artifact.pack where id = ${pack}
          and not exists (select from artifact.packed_blob where pack = ${pack})`
    },
  }
}

function givenUp(pack: string): ArtifactError {
  return new ArtifactError('store_unavailable', `Cannot place blobs: pack ${pack} is given up`)
}

type PlaceRow = Omit<PackPlace, 'firstByte' | 'ownTag'> & {
  firstByte: bigint
  ownTag: string | null
}

function parsePlace({ firstByte, ownTag, ...row }: PlaceRow): PackPlace {
  return { ...row, firstByte: Number(firstByte), ownTag: ownTag ?? undefined }
}

/** Slices as rows `new (key, first_byte, size_bytes, sha256)`. */
function unnest(sql: AnySql, slices: readonly PackSlice[]) {
  return sql`unnest(
    ${slices.map(({ key }) => key)}::text[], ${slices.map(({ firstByte }) => firstByte)}::bigint[],
    ${slices.map(({ sizeBytes }) => sizeBytes)}::int[], ${slices.map(({ sha256 }) => sha256)}::text[]
  ) as new (key, first_byte, size_bytes, sha256)`
}
