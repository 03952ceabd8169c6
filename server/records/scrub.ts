/** When each tile of the log was hashed again, and what was found. */
import type { AnySql } from './database.ts'

/** What looking through the log found so far. */
export interface ScrubSummary {
  /** Tiles that were looked at, and when the last one was. */
  tiles: number
  lastAt: Date | undefined
  /** When the one was looked at that waits longest. */
  oldestAt: Date | undefined
  /** What was found, the latest first; also what a later look did not find any more. */
  faults: { tile: number; faults: string[]; foundAt: Date; checkedAt: Date }[]
}

/** Faults that are listed. */
const FAULTS_MAX = 20

/** The tile, of `tiles` in all, to look at next: one that never was, else the one that waits longest. */
export async function findStaleTile(sql: AnySql, tiles: number): Promise<number> {
  // They are taken in order, so the first one that never was looked at follows the last that was.
  const [row] = await sql<[{ tile: bigint }]>`
    select coalesce(
      (select max(tile) + 1 from artifact.log_scrub having max(tile) + 1 < ${tiles}),
      (select tile from artifact.log_scrub order by checked_at limit 1),
      0
    ) as tile`
  return Number(row.tile)
}

/** Records a look at a tile. Faults stay on record when a later look finds none. */
export async function saveScrub(
  sql: AnySql,
  tile: number,
  found: { at: Date; leaves: number; faults: readonly string[] },
): Promise<void> {
  const { at, leaves } = found
  const faults = [...found.faults]
  const faultyAt = faults.length > 0 ? at : null
  await sql`
    insert into artifact.log_scrub as known (tile, checked_at, leaves, faults, faulty_at)
    values (${tile}, ${at}, ${leaves}, ${faults}::text[], ${faultyAt})
    on conflict (tile) do update set checked_at = excluded.checked_at, leaves = excluded.leaves,
      faults = case when excluded.faulty_at is null then known.faults else excluded.faults end,
      faulty_at = coalesce(excluded.faulty_at, known.faulty_at)`
}

/** What looking through the log found so far. */
export async function summariseScrubs(sql: AnySql): Promise<ScrubSummary> {
  const [range] = await sql<[{ tiles: bigint; last: Date | null; oldest: Date | null }]>`
    select coalesce((select max(tile) + 1 from artifact.log_scrub), 0) as tiles,
      (select max(checked_at) from artifact.log_scrub) as last,
      (select min(checked_at) from artifact.log_scrub) as oldest`
  const rows = await sql<{ tile: bigint; faults: string[]; foundAt: Date; checkedAt: Date }[]>`
    select tile, faults, faulty_at as "foundAt", checked_at as "checkedAt" from artifact.log_scrub
    where faulty_at is not null order by faulty_at desc limit ${FAULTS_MAX}`
  return {
    tiles: Number(range.tiles),
    lastAt: range.last ?? undefined,
    oldestAt: range.oldest ?? undefined,
    faults: rows.map((row) => ({ ...row, tile: Number(row.tile) })),
  }
}
