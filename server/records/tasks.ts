/** Tasks and their runs: insert only. */

import { RUN_MAX } from '../../schemas/primitives.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { Run, Task } from '../../schemas/run.ts'
import type { AnySql, Sql, Transaction } from './database.ts'

interface RunRow {
  task: string
  run: number
  opened_at: Date
}

const formatRun = (row: RunRow): Run => ({
  task: row.task,
  run: row.run,
  openedAt: row.opened_at.toISOString(),
})

/** Makes sure that a task and a run chosen by the client are on record. */
export async function ensureRun(sql: AnySql, task: string, run: number): Promise<void> {
  // Counting the one makes it come first: who allots a run takes the task before the run too, and
  // two that took them the other way round would wait for each other.
  await sql`
    with new_task as (
      insert into artifact.task (task) values (${task}) on conflict do nothing returning 1
    )
    insert into artifact.run (task, run)
    select ${task}, ${run}::int from (select count(*) from new_task) as done
    on conflict do nothing`
}

/** The same for many, in two statements. In one order for all, so that nobody waits in a circle. */
export async function ensureRuns(
  sql: AnySql,
  wanted: readonly { task: string; run: number }[],
): Promise<void> {
  const tasks = wanted.map(({ task }) => task)
  await sql`
    insert into artifact.task (task)
    select distinct task from unnest(${tasks}::text[]) as new (task) order by task
    on conflict do nothing`
  await sql`
    insert into artifact.run (task, run)
    select distinct task, run from unnest(${tasks}::text[], ${wanted.map(({ run }) => run)}::int[]) as new (task, run)
    order by task, run
    on conflict do nothing`
}

/**
 * Allots the next run of a task. The same `requestId` gives the same run; `isNew` tells which it was.
 * Throws `runs_exhausted`, or `upload_conflict` when another task used that id.
 */
export async function allotRun(
  sql: Sql,
  task: string,
  requestId: string,
): Promise<{ run: Run; isNew: boolean }> {
  return sql.begin(async (tx) => {
    // One at a time for a task: two requests must not see the same highest run.
    await tx`select pg_advisory_xact_lock(hashtextextended('artifact.run:' || ${task}, 0))`
    await tx`insert into artifact.task (task) values (${task}) on conflict do nothing`
    for (;;) {
      const known = await findAllotted(tx, task, requestId)
      if (known !== undefined) return { run: known, isNew: false }
      const [row] = await tx<[RunRow?]>`
        insert into artifact.run (task, run, request_id)
        values (${task}, ${await nextRun(tx, task)}, ${requestId})
        on conflict do nothing
        returning task, run, opened_at`
      if (row !== undefined) return { run: formatRun(row), isNew: true }
      // Someone opened an upload in this very run, or another task took the request id, just now.
    }
  })
}

async function findAllotted(
  tx: Transaction,
  task: string,
  requestId: string,
): Promise<Run | undefined> {
  const [known] = await tx<[RunRow?]>`
    select task, run, opened_at from artifact.run where request_id = ${requestId}`
  if (known === undefined || known.task === task) return known && formatRun(known)
  throw new ArtifactError('upload_conflict', 'Cannot allot run: the request id is in use', {
    expected: task,
    found: 'another task',
  })
}

async function nextRun(tx: Transaction, task: string): Promise<number> {
  const [last] = await tx<[{ run: number }?]>`
    select run from artifact.run where task = ${task} order by run desc limit 1`
  const next = last === undefined ? 0 : last.run + 1
  if (next <= RUN_MAX) return next
  throw new ArtifactError('runs_exhausted', `Cannot allot run: ${task} is at run ${RUN_MAX}`)
}

/** The highest run on record of each task that has one. */
export async function findHighestRuns(
  sql: AnySql,
  tasks: readonly string[],
): Promise<Map<string, number>> {
  const rows = await sql<{ task: string; run: number }[]>`
    select task, highest.run from unnest(${[...tasks]}::text[]) as wanted (task), lateral (
      select run from artifact.run where run.task = wanted.task order by run desc limit 1
    ) as highest`
  return new Map(rows.map(({ task, run }) => [task, run]))
}

/** Whether a run is on record. */
export async function hasRun(sql: AnySql, task: string, run: number): Promise<boolean> {
  const rows = await sql`select 1 from artifact.run where task = ${task} and run = ${run}`
  return rows.length === 1
}

/** Tasks by name, those after `after`. */
export async function listTasks(
  sql: Sql,
  page: { prefix: string; after: string; limit: number },
): Promise<Task[]> {
  const end = prefixEnd(page.prefix)
  const rows = await sql<{ task: string; opened_at: Date }[]>`
    select task, opened_at from artifact.task
    where task > ${page.after} and task >= ${page.prefix}
      ${end === null ? sql`` : sql`and task < ${end}`}
    order by task limit ${page.limit}`
  return rows.map((row) => ({ task: row.task, openedAt: row.opened_at.toISOString() }))
}

/** Runs of a task, the latest first, those below `before`. */
export async function listRuns(
  sql: Sql,
  task: string,
  page: { before: number | undefined; limit: number },
): Promise<Run[]> {
  const rows = await sql<RunRow[]>`
    select task, run, opened_at from artifact.run
    where task = ${task} and run < ${BigInt(page.before ?? RUN_MAX + 1)}
    order by run desc limit ${page.limit}`
  return rows.map(formatRun)
}

/**
 * The first text after all texts that start with `prefix`, in byte order (collation "C"), so that a
 * prefix search is a range of the index; `null` when there is none.
 */
export function prefixEnd(prefix: string): string | null {
  const points = Array.from(prefix)
  while (points.length > 0) {
    const last = points.pop()?.codePointAt(0) ?? 0
    if (last < 0x10_ffff) {
      // Code points above the surrogates follow those below them directly.
      const next = last === 0xd7ff ? 0xe000 : last + 1
      return points.join('') + String.fromCodePoint(next)
    }
  }
  return null
}
