import { ArtifactError } from '../../schemas/problems.ts'

/** The error for a signal that fired. */
export function interrupted(cause: unknown): ArtifactError {
  if (cause instanceof ArtifactError) return cause
  return new ArtifactError('interrupted', 'Cannot go on: interrupted', { cause })
}

/** A promise, or `interrupted` as soon as the signal fires. */
export async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>()
  const onAbort = () => reject(interrupted(signal.reason))
  if (signal.aborted) onAbort()
  else signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([promise, aborted])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
