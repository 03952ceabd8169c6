/** What the filesystem store asks of the disk: durable folders, steady renames, errors in words. */
import { chmod, mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { ArtifactError } from '../../schemas/problems.ts'

/** The system's code of an error, for example `ENOENT`. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string'
    ? error.code
    : undefined
}

/** Makes the names in a folder durable. Windows has no such call and needs none. */
export async function syncFolder(path: string): Promise<void> {
  if (process.platform === 'win32') return
  await using handle = await open(path, 'r')
  await handle.sync()
}

/** Makes a folder and those above it, durably. Does nothing when it is there. */
export async function makeFolder(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true, mode: 0o700 })
  if (first === undefined) return
  // Each new folder is a name in the one above it.
  for (let at = resolve(path); at.length >= resolve(first).length; at = dirname(at))
    await syncFolder(dirname(at))
}

/** Renames in spite of the virus scanners and indexers of Windows, which hold new files for a moment. */
export async function renameSteadily(from: string, to: string): Promise<void> {
  for (let waitMs = 10; ; waitMs *= 2) {
    try {
      return await rename(from, to)
    } catch (error) {
      const code = codeOf(error)
      const isPassing = code === 'EPERM' || code === 'EACCES' || code === 'EBUSY'
      if (process.platform !== 'win32' || !isPassing || waitMs > 2000) throw error
    }
    await delay(waitMs)
  }
}

/** Removes a file, a read-only one too. Does nothing when it is not there. */
export async function removeFile(path: string): Promise<void> {
  try {
    // Windows refuses to remove what is read-only.
    if (process.platform === 'win32') await chmod(path, 0o600)
    await rm(path)
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error
  }
}

const FULL = new Set(['ENOSPC', 'EDQUOT', 'EFBIG'])

/**
 * Does `action`, and puts an error of the disk into words: `storage_full`, or `store_unavailable`
 * for a disk that cannot be read or written. Other errors pass. `verb` completes "Cannot …".
 */
export async function onDisk<T>(verb: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (error) {
    throw nameDiskError(verb, error)
  }
}

/** The error in words, as {@link onDisk} throws it. */
export function nameDiskError(verb: string, error: unknown): unknown {
  const code = codeOf(error)
  if (error instanceof ArtifactError || code === undefined || !/^E[A-Z0-9]+$/.test(code))
    return error
  return FULL.has(code)
    ? new ArtifactError('storage_full', `Cannot ${verb}: the disk is full`, {
        found: code,
        cause: error,
      })
    : new ArtifactError('store_unavailable', `Cannot ${verb}: the disk answers ${code}`, {
        found: code,
        cause: error,
      })
}
