/** What the filesystem store asks of the disk: folders that last, removal, errors in words. */
import { chmod, mkdir, unlink } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { syncFolder } from '../../client/disk/durable.ts'
import { errorCode } from '../../client/disk/local-error.ts'
import { ArtifactError } from '../../schemas/problems.ts'

/** Makes a folder and those above it, durably. Does nothing when it is there. */
export async function makeFolder(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true, mode: 0o700 })
  if (first === undefined) return
  // Each new folder is a name in the one above it.
  for (let at = resolve(path); at.length >= resolve(first).length; at = dirname(at))
    await syncFolder(dirname(at))
}

/** Removes a file, a read-only one too. Does nothing when it is not there. */
export async function removeFile(path: string): Promise<void> {
  try {
    // Windows refuses to remove what is read-only.
    if (process.platform === 'win32') await chmod(path, 0o600)
    await unlink(path)
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error
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

function nameDiskError(verb: string, error: unknown): unknown {
  const code = errorCode(error)
  if (error instanceof ArtifactError || code === undefined || !/^E[A-Z0-9]+$/.test(code))
    return error
  const values = { found: code, cause: error }
  return FULL.has(code)
    ? new ArtifactError('storage_full', `Cannot ${verb}: the disk is full`, values)
    : new ArtifactError('store_unavailable', `Cannot ${verb}: the disk answers ${code}`, values)
}
