/** Which lock file a command works with. */
import { z } from 'zod'
import { ArtifactError } from '../../schemas/problems.ts'
import { errorCode } from '../disk/local-error.ts'
import { readSmallFile } from '../trust/given-policy.ts'
import { EMPTY_LOCK, type LockFile, parseLock } from '../trust/lock-file.ts'
import { type CommandContext, text } from './command.ts'

const DEFAULT_PATH = 'artifact.lock'

/** Option of the commands that are about lock files. */
export const lockOptions = z.object({
  file: text('PATH', `The lock file [${DEFAULT_PATH}]`, { variable: 'ARTIFACT_LOCK' }),
})

/** The path that the flag, the environment or the custom gives. */
export function pathOfLock(
  { file }: z.infer<typeof lockOptions>,
  { environment }: CommandContext,
): string {
  return file ?? environment.lock ?? DEFAULT_PATH
}

/** Throws `local_io` when it cannot be read, `configuration` when it is not a lock file. */
export async function readLock(path: string): Promise<LockFile> {
  return parseLock(await readSmallFile(path))
}

/** {@link readLock}, or an empty one when there is none. */
export async function readLockIfThere(path: string): Promise<LockFile> {
  try {
    return await readLock(path)
  } catch (error) {
    const isAbsent = error instanceof ArtifactError && errorCode(error.cause) === 'ENOENT'
    if (isAbsent) return EMPTY_LOCK
    throw error
  }
}
