/** Finished blobs of the filesystem store: read-only files, each named by its key. */
import { createHash } from 'node:crypto'
import { chmod, type FileHandle, open, readFile, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { renamePatiently, syncFolder, writeDurable } from '../../client/disk/durable.ts'
import { errorCode } from '../../client/disk/local-error.ts'
import { freeChunk } from '../../client/memory/spent-chunk.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { splitBlobKey } from './blob-key.ts'
import type { FileToHash } from './file-hash-thread.ts'
import { makeFolder, onDisk, removeFile } from './files.ts'
import type { HashListener, HashThreads } from './hash-threads.ts'
import type { PieceBuffer, PieceBuffers } from './piece-buffers.ts'
import type { Blob, BlobDigest, ReadOptions } from './store.ts'

/** Where a finished blob lies below the folder of the store. */
export function pathOfBlob(folder: string, key: string): string {
  return join(folder, ...splitBlobKey(key))
}

/** Size and tag, or `undefined` when there is no such blob. */
export async function statBlob(folder: string, key: string): Promise<Blob | undefined> {
  try {
    const found = await stat(pathOfBlob(folder, key), { bigint: true })
    return found.isFile() ? { sizeBytes: found.size, tag: formatTag(key, found.size) } : undefined
  } catch (error) {
    if (errorCode(error) === 'ENOENT' || errorCode(error) === 'ENOTDIR') return undefined
    throw error
  }
}

/**
 * Moves the file at `path`, which nobody writes to any more, to its final place. Its parts are on the
 * disk: so the bytes are not waited for again. Its name is there once {@link settleBlob} has returned.
 */
export async function moveToBlobs(
  folder: string,
  key: string,
  path: string,
  sizeBytes: bigint,
): Promise<Blob> {
  const { size } = await stat(path, { bigint: true })
  // Longer when a part was refused that lay behind the last one.
  if (size !== sizeBytes) await resize(path, Number(sizeBytes))
  const target = pathOfBlob(folder, key)
  await renamePatiently(path, target).catch(async (error: unknown) => {
    if (errorCode(error) !== 'ENOENT') throw error
    await makeFolder(dirname(target))
    await renamePatiently(path, target)
  })
  return { sizeBytes, tag: formatTag(key, sizeBytes) }
}

async function resize(path: string, sizeBytes: number): Promise<void> {
  await using handle = await open(path, 'r+')
  await handle.truncate(sizeBytes)
  await handle.sync()
}

/**
 * Writes a small blob that is durable elsewhere until its file is; one that is there already is
 * compared, since its key stands for one content.
 */
export async function writeBlob(folder: string, key: string, bytes: Uint8Array): Promise<Blob> {
  const path = pathOfBlob(folder, key)
  const handle = await openNew(path).catch(async (error: unknown) => {
    if (errorCode(error) !== 'ENOENT') throw error
    await makeFolder(dirname(path))
    return openNew(path)
  })
  if (handle === undefined) await mendBlob(folder, key, bytes)
  else
    try {
      await handle.writeFile(bytes)
    } catch (error) {
      await removeFile(path)
      throw error
    } finally {
      await handle.close()
    }
  const sizeBytes = BigInt(bytes.length)
  return { sizeBytes, tag: formatTag(key, sizeBytes) }
}

/** A new file, read-only from the start for everybody else; `undefined` when it is there. */
async function openNew(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, 'wx', 0o444)
  } catch (error) {
    if (errorCode(error) === 'EEXIST') return undefined
    throw error
  }
}

/** Makes the blob what it has to be, durably, unless it is. */
export async function mendBlob(folder: string, key: string, bytes: Uint8Array): Promise<void> {
  const path = pathOfBlob(folder, key)
  const found = await readFile(path).catch((error: unknown) => {
    if (errorCode(error) === 'ENOENT') return undefined
    throw error
  })
  if (found?.equals(bytes)) return
  await makeFolder(dirname(path))
  await writeDurable(path, bytes, 0o444)
}

/** Makes a blob read-only and its name durable; mends what a crash after the move left undone. */
export async function settleBlob(folder: string, key: string): Promise<void> {
  const path = pathOfBlob(folder, key)
  await chmod(path, 0o444)
  await syncFolder(dirname(path))
}

/**
 * The bytes of a blob, in chunks that are good until the next one is asked for: two buffers take
 * turns, and the disk fills one while the reader has the other. Opens the file when it is first asked.
 * Throws `blob_missing`, `precondition_failed`, `store_unavailable`.
 */
export async function* readBlob(
  folder: string,
  key: string,
  tag: string,
  pieces: PieceBuffers,
  { start = 0n, end, signal }: ReadOptions = {},
): AsyncGenerator<Uint8Array> {
  const verb = `read ${key}`
  const { handle: opened, size } = await openTagged(folder, key, tag)
  await using handle = opened
  const stop = Number(end === undefined || end > size ? size : end)
  using buffers = createTurns(pieces, Math.max(1, stop - Number(start)))
  const read = async (position: number): Promise<Uint8Array> => {
    const buffer = buffers.next()
    const length = Math.min(buffer.length, stop - position)
    const { bytesRead } = await onDisk(verb, () => handle.read(buffer, 0, length, position))
    if (bytesRead === 0) throw cutShort(verb, stop, position)
    return buffer.subarray(0, bytesRead)
  }
  let position = Number(start)
  let ahead = position < stop ? read(position) : undefined
  try {
    while (ahead !== undefined) {
      signal?.throwIfAborted()
      const chunk: Uint8Array = await ahead
      position += chunk.length
      ahead = position < stop ? read(position) : undefined
      // It is waited for in its turn; a failure before that is not lost.
      ahead?.catch(() => undefined)
      yield chunk
    }
    signal?.throwIfAborted()
    buffers.free()
  } finally {
    await ahead?.catch(() => undefined)
  }
}

/** Size and digest of a blob, read and hashed by one of these threads. Throws as {@link readBlob}. */
export async function digestBlob(
  folder: string,
  key: string,
  tag: string,
  threads: HashThreads<FileToHash>,
  listener: HashListener,
): Promise<BlobDigest | undefined> {
  const { handle: opened, size } = await openTagged(folder, key, tag)
  await using handle = opened
  const verb = `read ${key}`
  const file = { fd: handle.fd, sizeBytes: Number(size) }
  const found = await onDisk(verb, () => threads.hash(file, listener))
  if (found === undefined) return undefined
  if (found.sizeBytes < file.sizeBytes) throw cutShort(verb, file.sizeBytes, found.sizeBytes)
  return { sizeBytes: size, sha256: found.sha256 }
}

/** Two buffers, one after the other; the second is made when it is first wanted. */
function createTurns(pieces: PieceBuffers, bytesMax: number) {
  const made: PieceBuffer[] = []
  let turn = 0
  return {
    next(): Buffer {
      const index = turn++ % 2
      const buffer = made[index] ?? pieces.take(bytesMax)
      made[index] = buffer
      return buffer.bytes
    },
    /** Gives the memory back, when the reader has asked for more and is done with all there was. */
    free(): void {
      for (const { bytes } of made) freeChunk(bytes)
    },
    /** A reader who left may have some of it on its way to a socket: that goes when nobody has it any more. */
    [Symbol.dispose](): void {
      for (const buffer of made) buffer[Symbol.dispose]()
    },
  }
}

/**
 * A strong ETag. A key is bound to one content for ever, so key and size name it; times and inodes
 * would change when the folder is restored from a backup. Whether the bytes are still right is for
 * their digests to say.
 */
function formatTag(key: string, sizeBytes: bigint): string {
  return `"${createHash('sha256').update(key).digest('hex').slice(0, 32)}-${sizeBytes}"`
}

/** The blob with this tag, open. */
async function openTagged(folder: string, key: string, tag: string) {
  const verb = `read ${key}`
  await using stack = new AsyncDisposableStack()
  const handle = stack.use(await onDisk(verb, () => openBlob(folder, key)))
  const { size } = await onDisk(verb, () => handle.stat({ bigint: true }))
  checkTag(key, tag, formatTag(key, size))
  stack.move()
  return { handle, size }
}

async function openBlob(folder: string, key: string) {
  try {
    return await open(pathOfBlob(folder, key), 'r')
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error
    throw new ArtifactError('blob_missing', `Cannot read ${key}: it is not in the store`)
  }
}

function checkTag(key: string, expected: string, found: string): void {
  if (expected === found) return
  throw new ArtifactError('precondition_failed', `Cannot read ${key}: it is another object`, {
    expected,
    found,
  })
}

function cutShort(verb: string, expectedBytes: number, foundBytes: number): ArtifactError {
  return new ArtifactError('precondition_failed', `Cannot ${verb}: it was cut while it was read`, {
    expected: `${expectedBytes} bytes`,
    found: `${foundBytes} bytes`,
  })
}
