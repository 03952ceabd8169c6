/** What the pages of the inspector ask of the records, each one statement and a few steps of an index. */
import type { AnySql } from './database.ts'

/** What a task did last. */
export interface TaskSummary {
  task: string
  /** The highest run on record. */
  run: number | undefined
  runOpenedAt: Date | undefined
  /** The highest run in which anything is sealed, and when that was. */
  sealedRun: number | undefined
  sealedAt: Date | undefined
}

/** What each of these tasks did last, in the same order. */
export async function summariseTasks(
  sql: AnySql,
  tasks: readonly string[],
): Promise<TaskSummary[]> {
  const rows = await sql<
    {
      task: string
      run: number | null
      runOpenedAt: Date | null
      sealedRun: number | null
      sealedAt: Date | null
    }[]
  >`
    select wanted.task, run.run, run.opened_at as "runOpenedAt", last.run as "sealedRun",
      last.sealed_at as "sealedAt"
    from unnest(${[...tasks]}::text[]) with ordinality as wanted (task, place)
    left join lateral (
      select run, opened_at from artifact.run
      where run.task = wanted.task order by run desc limit 1
    ) as run on true
    left join lateral (
      select run, sealed_at from artifact.artifact as sealed
      where sealed.task = wanted.task order by run desc, name desc limit 1
    ) as last on true
    order by wanted.place`
  return rows.map((row) => ({
    task: row.task,
    run: row.run ?? undefined,
    runOpenedAt: row.runOpenedAt ?? undefined,
    sealedRun: row.sealedRun ?? undefined,
    sealedAt: row.sealedAt ?? undefined,
  }))
}

/** An artifact as one line of a list, or one point of a chart. */
export interface ArtifactLine {
  run: number
  name: string
  sizeBytes: bigint
  openedAt: Date
  sealedAt: Date
}

const line = (sql: AnySql) => sql`
  run, name, size as "sizeBytes", opened_at as "openedAt", sealed_at as "sealedAt"`

/**
 * The first artifacts by name of each of these runs, at most `each` of them. Compared as rows, here
 * and below, they are read in the order of an index; given column by column, Postgres may expect few
 * rows and sort all of a run that has very many.
 */
export async function listRunLines(
  sql: AnySql,
  task: string,
  runs: readonly number[],
  each: number,
): Promise<ArtifactLine[]> {
  return sql<ArtifactLine[]>`
    select line.* from unnest(${[...runs]}::int[]) as wanted (run)
    cross join lateral (
      select ${line(sql)} from artifact.artifact
      where (task, run, name) >= (${task}, wanted.run, '') and (task, run) <= (${task}, wanted.run)
      order by task, run, name limit ${each}
    ) as line
    order by line.run desc, line.name`
}

/** The last artifacts of each of these names, at most `each`, the latest run first. */
export async function listNameLines(
  sql: AnySql,
  task: string,
  names: readonly string[],
  each: number,
): Promise<ArtifactLine[]> {
  return sql<ArtifactLine[]>`
    select line.* from unnest(${[...names]}::text[]) as wanted (name)
    cross join lateral (
      select ${line(sql)} from artifact.artifact
      where (task, name) >= (${task}, wanted.name) and (task, name) <= (${task}, wanted.name)
      order by task, name, run desc limit ${each}
    ) as line
    order by line.name, line.run desc`
}

/** What else is known of an artifact than its record. */
export interface Standing {
  /** Index of the leaf that sealed it; `undefined` when it is not in the log. */
  leafIndex: number | undefined
  /** What was said of it later. */
  statements: ('remove' | 'revoke')[]
  /** When its bytes were read last after the seal, and what came of it. */
  seenAt: Date | undefined
  outcome: 'agreed' | 'mismatch' | 'missing' | undefined
}

/** The standing of each of these names of a run, in the same order. */
export async function readStandings(
  sql: AnySql,
  task: string,
  run: number,
  names: readonly string[],
): Promise<Standing[]> {
  const rows = await sql<
    {
      leaf: bigint | null
      statements: ('remove' | 'revoke')[] | null
      at: Date | null
      outcome: 'agreed' | 'mismatch' | 'missing' | null
    }[]
  >`
    select
      (select idx from artifact.log_leaf as leaf where leaf.kind = 'seal'
        and leaf.task = ${task} and leaf.run = ${run} and leaf.name = wanted.name) as leaf,
      (select array_agg(kind order by idx) from artifact.log_leaf as leaf where leaf.kind <> 'seal'
        and leaf.task = ${task} and leaf.run = ${run} and leaf.name = wanted.name) as statements,
      seen.at, seen.outcome
    from unnest(${[...names]}::text[]) with ordinality as wanted (name, place)
    left join lateral (
      select at, outcome from artifact.verification as seen
      where seen.task = ${task} and seen.run = ${run} and seen.name = wanted.name
      order by at desc limit 1
    ) as seen on true
    order by wanted.place`
  return rows.map((row) => ({
    leafIndex: row.leaf === null ? undefined : Number(row.leaf),
    statements: row.statements ?? [],
    seenAt: row.at ?? undefined,
    outcome: row.outcome ?? undefined,
  }))
}

/** An artifact that a search found. */
export interface FoundArtifact {
  task: string
  run: number
  name: string
  /** Hexadecimal. */
  sha256: string
  sizeBytes: bigint
  sealedAt: Date
}

/**
 * Artifacts whose SHA-256 begins with these hexadecimal digits, at most `limit`. An odd last digit
 * counts for half a byte.
 */
export async function findByDigest(
  sql: AnySql,
  prefix: string,
  limit: number,
): Promise<FoundArtifact[]> {
  const low = Buffer.from(prefix.padEnd(64, '0'), 'hex')
  const high = Buffer.from(prefix.padEnd(64, 'f'), 'hex')
  const rows = await sql<(Omit<FoundArtifact, 'sha256'> & { sha256: Uint8Array })[]>`
    select task, run, name, sha256, size as "sizeBytes", sealed_at as "sealedAt"
    from artifact.artifact where sha256 between ${low} and ${high}
    order by sha256 limit ${limit}`
  return rows.map((row) => ({ ...row, sha256: Buffer.from(row.sha256).toString('hex') }))
}

/** How many leaves the signed log had at each of these moments; 0 before its first head. */
export async function readLogSizes(
  sql: AnySql,
  origin: string,
  moments: readonly Date[],
): Promise<number[]> {
  const rows = await sql<{ size: bigint }[]>`
    select coalesce((
      select size from artifact.log_checkpoint as head
      where head.origin = ${origin} and head.signed_at <= wanted.at
      order by head.signed_at desc, head.size desc limit 1
    ), 0) as size
    from unnest(${moments.map((moment) => moment.toISOString())}::timestamptz[])
      with ordinality as wanted (at, place)
    order by wanted.place`
  return rows.map(({ size }) => Number(size))
}

/** When the newest head of a log was signed. */
export async function findSignedAt(
  sql: AnySql,
  origin: string,
  size: number,
): Promise<Date | undefined> {
  const [row] = await sql<[{ at: Date }?]>`
    select signed_at as at from artifact.log_checkpoint
    where origin = ${origin} and size = ${size} order by cosignatures desc limit 1`
  return row?.at
}
