import { DatabaseSync } from 'node:sqlite'
import { ArtifactError } from '../../schemas/problems.ts'

/** Held until it is disposed of, or until the process ends, however it ends. */
export interface Lock extends AsyncDisposable {
  readonly path: string
}

/** SQLite's primary result code for "another connection holds the file". */
const SQLITE_BUSY = 5

/** Keeps what is held from the garbage collector, which would close it. */
const held = new Set<DatabaseSync>()

/**
 * Takes an exclusive lock on the file at `path`, which is made when missing and stays empty.
 *
 * It is a SQLite transaction that never ends, so the kernel lets go of it when the process dies: no
 * stale lock, no process id to guess about. It guards between processes, and within one. The folder
 * must exist, on a file system with POSIX or Windows locks.
 *
 * Throws `locked` at once when someone else holds it, `local_io` when the file cannot be used.
 */
export async function acquireLock(path: string): Promise<Lock> {
  const file = openFile(path)
  try {
    // No journal beside it: nothing is ever written.
    file.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE')
  } catch (error) {
    file.close()
    if (isBusy(error))
      throw new ArtifactError('locked', `Cannot lock ${path}: another process holds it`, {
        cause: error,
      })
    throw unusable(path, error)
  }
  held.add(file)
  return {
    path,
    async [Symbol.asyncDispose]() {
      if (held.delete(file)) file.close()
    },
  }
}

function openFile(path: string): DatabaseSync {
  try {
    return new DatabaseSync(path, { timeout: 0 })
  } catch (error) {
    throw unusable(path, error)
  }
}

function isBusy(error: unknown): boolean {
  return (
    error instanceof Error &&
    'errcode' in error &&
    typeof error.errcode === 'number' &&
    // The low byte is the primary code; the rest says more about it.
    (error.errcode & 0xff) === SQLITE_BUSY
  )
}

function unusable(path: string, error: unknown): ArtifactError {
  const state = error instanceof Error ? error.message : String(error)
  return new ArtifactError('local_io', `Cannot lock ${path}: ${state}`, { cause: error })
}
