/**
 * References as people type them.
 *
 *     reference = task [ "/" run [ "/" name ] ]
 *     run       = "latest" / 1*DIGIT
 *
 * For example `turtle-db/latest/db.dump` or `turtle-db/7`.
 */
import { ArtifactName, RUN_MAX, TaskName } from './primitives.ts'
import { ArtifactError } from './problems.ts'

/** A run by its number, or the highest one in which something is sealed. */
export type RunSelector = number | 'latest'

export interface Reference {
  task: string
  /** Absent: the next run (when writing). */
  run?: RunSelector
  /** Absent: the whole run, or the name of the file. */
  name?: string
}

/** Parses `task[/run[/name]]`; throws an `ArtifactError` `usage`. The name keeps its slashes. */
export function parseReference(text: string): Reference {
  const [task = '', run, ...rest] = text.split('/')
  const fault = firstMessage(TaskName.safeParse(task))
  if (fault !== undefined) throw unreadable(text, `task: ${fault}`)
  if (run === undefined) return { task }
  const selector = parseRun(text, run)
  if (rest.length === 0) return { task, run: selector }
  const name = rest.join('/')
  const nameFault = firstMessage(ArtifactName.safeParse(name))
  if (nameFault !== undefined) throw unreadable(text, `name: ${nameFault}`)
  return { task, run: selector, name }
}

/** The inverse of {@link parseReference}. */
export function formatReference(reference: Reference): string {
  const parts = [reference.task]
  if (reference.run !== undefined) parts.push(String(reference.run))
  if (reference.name !== undefined) parts.push(reference.name)
  return parts.join('/')
}

function parseRun(text: string, run: string): RunSelector {
  if (run === 'latest') return 'latest'
  if (!/^(0|[1-9][0-9]{0,9})$/.test(run) || Number(run) > RUN_MAX)
    throw unreadable(text, `run: expected "latest" or 0 to ${RUN_MAX}`)
  return Number(run)
}

function firstMessage(result: { success: boolean; error?: { issues: { message: string }[] } }) {
  return result.success ? undefined : (result.error?.issues[0]?.message ?? 'not accepted')
}

function unreadable(found: string, reason: string): ArtifactError {
  return new ArtifactError('usage', `Cannot read reference ${JSON.stringify(found)}: ${reason}`, {
    expected: 'TASK[/RUN[/NAME]]',
    found,
  })
}
