/**
 * How far ahead a run may be named. The next run of a task follows the highest that there is, and `latest`
 * is the highest that has something: whoever names 2,147,483,647 leaves no further run to anybody, and keeps
 * `latest` there for ever. So who may write some names of a task alone stays near what there is.
 */
import { ArtifactError } from '../../schemas/problems.ts'
import { describeScopes, isAllowedInAll, type Principal } from '../access/scopes.ts'
import type { AnySql } from '../records/database.ts'
import { findHighestRuns } from '../records/tasks.ts'

/** Runs beyond the highest one that may be named without a scope for the whole task. */
export const RUNS_AHEAD_MAX = 1000

interface Wanted {
  task: string
  run: number
}

/**
 * Looks up, where that is in doubt, how far each of these runs is ahead, and returns what judges them: the
 * `forbidden` of one that is too far, else `undefined`.
 */
export async function judgeRuns(
  sql: AnySql,
  principal: Principal,
  wanted: readonly Wanted[],
): Promise<(one: Wanted) => ArtifactError | undefined> {
  const isInDoubt = ({ task, run }: Wanted) =>
    run >= RUNS_AHEAD_MAX && !isAllowedInAll(principal, 'upload', task)
  const tasks = [...new Set(wanted.filter(isInDoubt).map(({ task }) => task))]
  const highest = tasks.length === 0 ? new Map() : await findHighestRuns(sql, tasks)
  return (one) => {
    const last = (highest.get(one.task) ?? -1) + RUNS_AHEAD_MAX
    return isInDoubt(one) && one.run > last ? tooFar(one, last, principal) : undefined
  }
}

function tooFar({ task, run }: Wanted, last: number, principal: Principal): ArtifactError {
  return new ArtifactError(
    'forbidden',
    `Cannot open run ${run} of ${task}: it is too far ahead for a token of some of its names`,
    { expected: `run ${last} at most, or upload:${task}/**`, found: describeScopes(principal) },
  )
}
