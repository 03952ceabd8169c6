/** Exit codes in words, and the way from an error to its exit code. */
import { ArtifactError, EXITS } from '../schemas/problems.ts'

/** What an exit code means for every command, as the help says it. */
export const EXIT_MEANINGS: Record<keyof typeof EXITS, string> = {
  done: 'done, or it was done already',
  unexpected: 'unexpected failure: a bug, please report it',
  usage: 'usage or configuration',
  integrity: 'integrity: bytes and record do not agree; nothing was written',
  notAllowed: 'not allowed',
  notFound: 'not found',
  conflict: 'conflict: already sealed with other content',
  unreachable: 'unreachable or overloaded, all retries used up',
  refused: 'a guard or a policy refused',
  partly: 'done in part',
  locked: 'someone else holds the lock; try later',
  interrupted: 'interrupted by Ctrl-C, cleaned up',
  terminated: 'asked to end (SIGTERM), cleaned up',
}

/** The reason with which a signal of the system aborts a command. */
export function formatInterruption(name: 'SIGINT' | 'SIGTERM'): ArtifactError {
  return new ArtifactError(
    'interrupted',
    name === 'SIGINT' ? 'Cannot finish: interrupted' : 'Cannot finish: asked to end (SIGTERM)',
    { found: name },
  )
}

/**
 * The error that is shown for `thrown`: the interruption when there was one and `thrown` is its
 * consequence, `thrown` itself when it is one of ours, else `undefined`: nobody foresaw it.
 */
export function classifyError(thrown: unknown, signal: AbortSignal): ArtifactError | undefined {
  if (thrown instanceof ArtifactError && thrown.code === 'interrupted') return thrown
  const interrupted = signal.aborted && signal.reason instanceof ArtifactError
  if (interrupted && isConsequence(thrown)) return signal.reason
  return thrown instanceof ArtifactError ? thrown : undefined
}

/** Exit code of an error; 143 rather than 130 when it was a request to end that interrupted. */
export function exitOf(error: ArtifactError, signal: AbortSignal): number {
  const reason = signal.aborted ? signal.reason : undefined
  const isEnded = reason instanceof ArtifactError && reason.found === 'SIGTERM'
  return error.code === 'interrupted' && isEnded ? EXITS.terminated : error.row.exit
}

function isConsequence(thrown: unknown): boolean {
  // A terminal sends Ctrl-C to the command that makes the data, too, and that fails by it.
  if (thrown instanceof ArtifactError) return thrown.code === 'command_failed'
  return thrown instanceof Error && thrown.name === 'AbortError'
}
