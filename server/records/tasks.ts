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

/**
 * The parts of a statement, to follow its `with`, that make sure that tasks and runs chosen by clients
 * are on record; whatever needs them there counts the rows of `new_run`. `wanted` is a query of the two.
 *
 * Counting makes the ones come before the others, and the order is one for all: who allots a run takes
 * the task before the run too, and two that took them the other way round would wait for each other.
 */
export function ensuringRuns(sql: AnySql, wanted: ReturnType<AnySql>) {
  return sql`
    wanted as materialized (${wanted}),
    new_task as (
      insert into artifact.task (task) select distinct task from wanted order by task
      on conflict do nothing returning 1
    ),
    new_run as (
      insert into artifact.run (task, run)
      select distinct task, run from wanted where (select count(*) from new_task) >= 0
      order by task, run
      on conflict do nothing returning 1
    )`
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
  // Mostly nobody else wants a run of this task at this moment, and one statement is all that it takes.
  const free = await allotFree(sql, task, requestId)
  if (free !== undefined) return free
  return sql.begin(async (tx) => {
    // One at a time for a task: two requests must not see the same highest run.
    await tx`select pg_advisory_xact_lock(hashtextextended('artifact.run:' || ${task}, 0))`
    for (;;) {
      const allotted = await allotFree(tx, task, requestId)
      if (allotted !== undefined) return allotted
      const last = await findLastRun(tx, task)
      if (last === RUN_MAX)
        throw new ArtifactError('runs_exhausted', `Cannot allot run: ${task} is at run ${RUN_MAX}`)
      // Someone opened an upload in this very run, or another task took the request id, just now.
    }
  })
}

/** The run that the request id has or gets; `undefined` when there is none left, or somebody was faster. */
async function allotFree(
  sql: AnySql,
  task: string,
  requestId: string,
): Promise<{ run: Run; isNew: boolean } | undefined> {
  const [row] = await sql<[(RunRow & { isNew: boolean })?]>`
    with known as materialized (
      select task, run, opened_at from artifact.run where request_id = ${requestId}
    ), new_task as (
      insert into artifact.task (task) select ${task} where not exists (select from known)
      on conflict do nothing returning 1
    ), fresh as (
      insert into artifact.run (task, run, request_id)
      select ${task}, coalesce(last.run, -1) + 1, ${requestId}
      from (select count(*) from new_task) as done
        left join (
          select run from artifact.run where task = ${task} order by run desc limit 1
        ) as last on true
      where last.run is distinct from ${RUN_MAX}::int and not exists (select from known)
      on conflict do nothing
      returning task, run, opened_at
    )
    select *, false as "isNew" from known union all select *, true from fresh`
  if (row === undefined) return undefined
  if (row.task === task) return { run: formatRun(row), isNew: row.isNew }
  throw new ArtifactError('upload_conflict', 'Cannot allot run: the request id is in use', {
    expected: task,
    found: 'another task',
  })
}

async function findLastRun(tx: Transaction, task: string): Promise<number | undefined> {
  const [last] = await tx<[{ run: number }?]>`
    select run from artifact.run where task = ${task} order by run desc limit 1`
  return last?.run
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
