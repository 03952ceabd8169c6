/** A lock whose file goes away with its holder, for folders that belong to somebody else. */
import { open, stat, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { errorCode, localError } from './local-error.ts'
import { acquireLock } from './lock.ts'

/**
 * Locks the file at `path` as {@link acquireLock} does, and removes it when it is let go of. A holder
 * that dies leaves an empty file, which the next one takes over.
 *
 * Throws `locked` when someone else holds it, `local_io` when the folder cannot be written.
 */
export async function acquirePassingLock(path: string): Promise<AsyncDisposable> {
  for (;;) {
    await makeFile(path)
    const before = await identify(path)
    const lock = await acquireLock(path)
    const after = await identify(path)
    if (before !== undefined && before === after)
      return {
        async [Symbol.asyncDispose]() {
          // Removed while it is held, so that nobody removes the lock of somebody else. Windows
          // removes no open file; there the empty file is removed afterwards, if nobody took it.
          const isRemoved = await remove(path)
          await lock[Symbol.asyncDispose]()
          if (!isRemoved) await remove(path)
        },
      }
    // The holder before removed the file between its opening and its locking: the lock is on a file
    // without a name, and the next one would not see it.
    await lock[Symbol.asyncDispose]()
  }
}

/** Opens it only when it is new: closing it would let go of a lock that this very process holds on it (POSIX, `fcntl`). */
async function makeFile(path: string): Promise<void> {
  try {
    await (await open(path, 'wx', 0o600)).close()
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw localError('write into', dirname(path), error)
  }
}

async function identify(path: string): Promise<string | undefined> {
  try {
    const { dev, ino, birthtimeNs } = await stat(path, { bigint: true })
    return `${dev}/${ino}/${birthtimeNs}`
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined
    throw localError('write into', dirname(path), error)
  }
}

async function remove(path: string): Promise<boolean> {
  return unlink(path).then(
    () => true,
    () => false,
  )
}
