import { ArtifactError } from '../../schemas/problems.ts'

const STATES: Record<string, string> = {
  ENOSPC: 'no space is left on the device',
  EDQUOT: 'the disk quota is used up',
  EACCES: 'permission is denied',
  EPERM: 'the operation is not permitted',
  EROFS: 'the file system is read-only',
  ENOENT: 'it does not exist',
  ENOTDIR: 'a part of its path is not a folder',
  EISDIR: 'it is a folder',
  EEXIST: 'it exists already',
  ENAMETOOLONG: 'the name is too long for this file system',
  EFBIG: 'the file is too large for this file system',
  EMFILE: 'too many files are open',
  ELOOP: 'it is a symbolic link',
}

/** The system's code of an error, for example `ENOSPC`. */
export function errorCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string'
    ? error.code
    : undefined
}

/** What went wrong on this machine, as a `local_io` that names the act and the path. */
export function localError(verb: string, path: string, error: unknown): ArtifactError {
  if (error instanceof ArtifactError) return error
  const state =
    STATES[errorCode(error) ?? ''] ?? (error instanceof Error ? error.message : String(error))
  return new ArtifactError('local_io', `Cannot ${verb} ${path}: ${state}`, { cause: error })
}
