/**
 * What is kept when a log answers for two histories. Of a fork it is the evidence of
 * `verify/history.ts`; of a rollback the two signed heads, quoted in the same way:
 *
 *     rollback = "artifact-log/v1 rollback" LF "seen" LF quoted "shown" LF quoted
 *     quoted   = *(TAB line LF)
 *
 * For example, shortened:
 *
 *     artifact-log/v1 rollback
 *     seen
 *     →	example.com/log
 *     →	20
 *     …
 *     shown
 *     →	example.com/log
 *     →	7
 *
 * A rollback convicts nobody: an old head may come from whoever stands in between.
 */
import { ArtifactError } from '../../schemas/problems.ts'
import type { OpenedCheckpoint } from '../verify/checkpoint.ts'
import { ForkError, formatEvidence } from '../verify/history.ts'

/** The newest head that a server shows is older than one that was seen. */
export class RollbackError extends ArtifactError {
  readonly seen: OpenedCheckpoint
  readonly shown: OpenedCheckpoint

  constructor(seen: OpenedCheckpoint, shown: OpenedCheckpoint) {
    super('log_rollback', `Cannot trust ${seen.origin}: it is older than it was`, {
      expected: `at least ${seen.size} leaves`,
      found: `${shown.size} leaves`,
    })
    this.seen = seen
    this.shown = shown
  }
}

/** The text to keep; `undefined` for an error that accuses no log. */
export function describeEvidence(error: unknown): string | undefined {
  if (error instanceof ForkError) return formatEvidence(error.evidence)
  if (error instanceof RollbackError)
    return `artifact-log/v1 rollback\nseen\n${quote(error.seen.note)}shown\n${quote(error.shown.note)}`
  return undefined
}

const quote = (note: string) =>
  note
    .split('\n')
    .slice(0, -1)
    .map((line) => `\t${line}\n`)
    .join('')
