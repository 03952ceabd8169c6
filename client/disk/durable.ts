/**
 * Writes that outlive a power cut: the bytes are on the disk before the name is, and the name is
 * on the disk before the function returns (fsync(2): a new name needs an fsync of its folder too).
 */
import { randomBytes } from 'node:crypto'
import { type FileHandle, link, open, rename, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { ArtifactError } from '../../schemas/problems.ts'
import { errorCode, localError } from './local-error.ts'

/** Puts the names in a folder onto the disk. Windows has no such thing, and needs none. */
export async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return
  await using handle = await open(folder, 'r')
  await handle.sync()
}

/**
 * Writes a small file whole, replacing what was there; a reader sees the old bytes or the new ones,
 * also after a crash. Mode 0600 unless told. Throws `local_io`, and leaves nothing behind then.
 */
export async function writeDurable(
  path: string,
  bytes: string | Uint8Array,
  mode = 0o600,
): Promise<void> {
  const draft = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}.draft`)
  try {
    {
      await using handle = await open(draft, 'wx', mode)
      await handle.writeFile(bytes)
      await handle.sync()
    }
    await renamePatiently(draft, path)
    await syncFolder(dirname(path))
  } catch (error) {
    await unlink(draft).catch(() => undefined)
    throw localError('write', path, error)
  }
}

/**
 * Gives a file its final name, durably; its bytes must be on the disk already. Both names are in one
 * folder. Without `replace` it throws `target_exists` when the name is taken, even if that happens
 * at this very moment. Throws `local_io` when it cannot be done.
 */
export async function publishFile(
  draft: string,
  target: string,
  { replace }: { replace: boolean },
): Promise<void> {
  try {
    await placeFile(draft, target, { replace })
    await syncFolder(dirname(target))
  } catch (error) {
    throw localError('write', target, error)
  }
}

/** {@link publishFile} for many: the name is not on the disk before {@link syncFolder} has been called. */
export async function placeFile(
  draft: string,
  target: string,
  { replace }: { replace: boolean },
): Promise<void> {
  if (replace) await renamePatiently(draft, target)
  else await renameToNew(draft, target)
}

/** The error for a target that is there and must not be replaced. */
export function targetExists(target: string, cause?: unknown): ArtifactError {
  return new ArtifactError('target_exists', `Cannot write ${target}: it exists already`, { cause })
}

/** Writes all of it at its place; `write` alone may write less. */
export async function writeFully(
  handle: FileHandle,
  bytes: Uint8Array,
  position: number,
): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, position + done)
    done += bytesWritten
  }
}

/** Reads until the buffer is full or the file ends; answers how much was read. */
export async function readFully(
  handle: FileHandle,
  buffer: Uint8Array,
  position: number,
): Promise<number> {
  let done = 0
  while (done < buffer.length) {
    const { bytesRead } = await handle.read(buffer, done, buffer.length - done, position + done)
    if (bytesRead === 0) break
    done += bytesRead
  }
  return done
}

/** `rename` replaces and `link` does not, so a second name is given and the first one taken away. */
async function renameToNew(draft: string, target: string): Promise<void> {
  try {
    await link(draft, target)
  } catch (error) {
    if (errorCode(error) === 'EEXIST') throw targetExists(target, error)
    if (!LINKLESS.has(errorCode(error) ?? '')) throw error
    return renameOverClaim(draft, target)
  }
  await unlink(draft)
}

/** What file systems without hard links answer (FAT, exFAT, some network ones). */
const LINKLESS = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK', 'EXDEV', 'EINVAL'])

/** Without hard links: an empty file that nobody else could make claims the name. */
async function renameOverClaim(draft: string, target: string): Promise<void> {
  try {
    await (await open(target, 'wx', 0o600)).close()
  } catch (error) {
    if (errorCode(error) === 'EEXIST') throw targetExists(target, error)
    throw error
  }
  try {
    await renamePatiently(draft, target)
  } catch (error) {
    await unlink(target).catch(() => undefined)
    throw error
  }
}

/** Virus scanners and indexers hold files open on Windows for a moment; then it is tried again. */
export async function renamePatiently(from: string, to: string): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      return await rename(from, to)
    } catch (error) {
      const isBusy = ['EPERM', 'EBUSY', 'EACCES'].includes(errorCode(error) ?? '')
      if (process.platform !== 'win32' || !isBusy || tries >= 10) throw error
      await delay(tries * 20)
    }
  }
}
