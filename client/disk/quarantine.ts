/**
 * Quarantine: where downloaded bytes wait until they are verified, and the only way by which bytes
 * reach a final name.
 *
 *     quarantine = folder "/." base "." 12HEXDIG ".artifact-partial"     ; digits of the SHA-256
 *
 * For example `.db.dump.9f86d081884c.artifact-partial`, beside `db.dump`. It is bound to the digest
 * that it will have, so what an interrupted download left is gone on with, verified again, and never
 * mixed with another content.
 */
import { createHash, randomBytes } from 'node:crypto'
import { type BigIntStats, constants } from 'node:fs'
import { type FileHandle, lstat, open, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { ArtifactError } from '../../schemas/problems.ts'
import { publishFile, readFully, targetExists, writeFully } from './durable.ts'
import { errorCode, localError } from './local-error.ts'
import { acquirePassingLock } from './passing-lock.ts'

/** A file of unverified bytes. Disposing of it removes it, unless it was published or kept. */
export interface Scratch extends AsyncDisposable {
  /** The open file, for a thread that reads it too. */
  readonly fd: number
  /** Bytes in it. */
  sizeBytes(): Promise<bigint>
  /** Fills the buffer from `position`; answers less than its length where the file ends. */
  read(buffer: Uint8Array, position: bigint): Promise<number>
  write(bytes: Uint8Array, position: bigint): Promise<void>
  /** Cuts off what lies behind. */
  truncate(sizeBytes: bigint): Promise<void>
  /** Puts what was written onto the disk, so that less is left to do at the end. */
  flush(): Promise<void>
}

export interface Quarantine extends Scratch {
  /** Gives the file its final name, durably. The caller has verified every byte in it. */
  publish(): Promise<void>
  /** Lets the file stay for a later call when this one ends without publishing. */
  keep(): void
}

/**
 * Opens the quarantine of a target, alone: what an earlier call left there is still in it.
 *
 * Throws `target_exists` (without `force`), `unsafe_path` when the target is there and is no plain
 * file, `locked` when another process fills it, `local_io` when the folder cannot be written.
 */
export async function openQuarantine(
  target: string,
  sha256: string,
  { force }: { force: boolean },
): Promise<Quarantine> {
  await checkTarget(target, force)
  const path = join(dirname(target), `${quarantineStem(basename(target), sha256)}.artifact-partial`)
  await using stack = new AsyncDisposableStack()
  stack.use(await acquirePassingLock(path.replace(/partial$/, 'lock')))
  const handle = await openOwn(path)
  let fate: 'remove' | 'keep' | 'published' = 'remove'
  stack.defer(async () => {
    await handle.close()
    if (fate === 'remove') await unlink(path).catch(() => undefined)
  })
  const held = stack.move()
  return {
    ...scratchOf(handle, path),
    async publish() {
      try {
        await handle.chmod(0o666 & ~process.umask())
        await handle.sync()
        await checkSameFile(handle, path)
      } catch (error) {
        throw localError('write', target, error)
      }
      await publishFile(path, target, { replace: force })
      fate = 'published'
    },
    keep() {
      fate = 'keep'
    },
    async [Symbol.asyncDispose]() {
      await held.disposeAsync()
    },
  }
}

/** A nameless file in `folder`, for bytes that go into a pipe once they are verified. */
export async function openSpool(folder: string): Promise<Scratch> {
  const path = join(folder, `.artifact-spool.${randomBytes(8).toString('hex')}`)
  const handle = await open(path, 'wx+', 0o600).catch((error: unknown) => {
    throw localError('write into', folder, error)
  })
  // Nameless from the start where the system allows it: then even a crash leaves nothing.
  await unlink(path).catch(() => undefined)
  return {
    ...scratchOf(handle, path),
    async [Symbol.asyncDispose]() {
      await handle.close()
      await unlink(path).catch(() => undefined)
    },
  }
}

function scratchOf(handle: FileHandle, path: string): Omit<Scratch, typeof Symbol.asyncDispose> {
  const orLocalError = async <T>(verb: string, act: Promise<T>): Promise<T> => {
    try {
      return await act
    } catch (error) {
      throw localError(verb, path, error)
    }
  }
  return {
    fd: handle.fd,
    async sizeBytes() {
      return (await orLocalError('read', handle.stat({ bigint: true }))).size
    },
    read: (buffer, position) => orLocalError('read', readFully(handle, buffer, Number(position))),
    write: (bytes, position) => orLocalError('write', writeFully(handle, bytes, Number(position))),
    truncate: (sizeBytes) => orLocalError('write', handle.truncate(Number(sizeBytes))),
    flush: () => orLocalError('write', handle.datasync()),
  }
}

/** Name of a quarantine and of its lock, without their endings; fits into 255 bytes with them. */
function quarantineStem(base: string, sha256: string): string {
  const digits = sha256.slice(0, 12)
  if (Buffer.byteLength(base) <= 200) return `.${base}.${digits}`
  return `.${createHash('sha256').update(base).digest('hex')}.${digits}`
}

/** Early, before any byte is fetched; the last word is spoken when the file is published. */
async function checkTarget(target: string, force: boolean): Promise<void> {
  const found = await lstat(target).catch((error: unknown) => {
    if (errorCode(error) === 'ENOENT') return undefined
    throw localError('write', target, error)
  })
  if (found === undefined) return
  if (!force) throw targetExists(target)
  if (!found.isFile() && !found.isSymbolicLink())
    throw new ArtifactError('unsafe_path', `Cannot replace ${target}: it is not a plain file`)
}

/**
 * What an earlier call left is taken over only if nobody else can have a hand in it: a plain file of
 * this user, with one name, closed to others. Anything else there is removed, not followed.
 */
async function openOwn(path: string): Promise<FileHandle> {
  try {
    const flags = constants.O_RDWR | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0)
    const handle = await open(path, flags).catch(() => undefined)
    if (handle !== undefined) {
      if (isOwn(await handle.stat({ bigint: true }))) return handle
      await handle.close()
    }
    await unlink(path).catch((error: unknown) => {
      if (errorCode(error) !== 'ENOENT') throw error
    })
    return await open(path, 'wx+', 0o600)
  } catch (error) {
    throw localError('write', path, error)
  }
}

function isOwn(found: BigIntStats): boolean {
  if (!found.isFile() || found.nlink !== 1n) return false
  if (process.getuid === undefined) return true
  return found.uid === BigInt(process.getuid()) && (found.mode & 0o077n) === 0n
}

/** What is renamed must be what was verified, whatever happened to the name meanwhile. */
async function checkSameFile(handle: FileHandle, path: string): Promise<void> {
  const [inside, outside] = await Promise.all([
    handle.stat({ bigint: true }),
    lstat(path, { bigint: true }),
  ])
  if (inside.ino === outside.ino && inside.dev === outside.dev) return
  throw new ArtifactError('unsafe_path', `Cannot publish ${path}: it was replaced meanwhile`)
}
