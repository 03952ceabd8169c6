/**
 * Where the bytes of an upload come from: a file, which can be read again, or a stream, which cannot.
 */
import { constants } from 'node:fs'
import { type FileHandle, lstat, open, realpath } from 'node:fs/promises'
import { ArtifactError } from '../../schemas/problems.ts'
import { readFully } from '../disk/durable.ts'
import { localError } from '../disk/local-error.ts'
import { interrupted, untilAborted } from './interruption.ts'

interface BaseSource extends AsyncDisposable {
  /** `undefined` while it is not known. */
  readonly sizeBytes: bigint | undefined
  /** Fills the buffer with what comes next; answers less than its length only at the end. */
  read(buffer: Uint8Array, signal: AbortSignal): Promise<number>
  /** Throws unless everything was read, and nothing changed meanwhile. */
  checkEnd(readBytes: bigint, signal: AbortSignal): Promise<void>
}

export interface FileSource extends BaseSource {
  readonly kind: 'file'
  readonly sizeBytes: bigint
  /** As it was given. */
  readonly path: string
  /** Time of change, nanoseconds since 1970. */
  readonly mtimeNs: bigint
  readAt(buffer: Uint8Array, position: bigint): Promise<number>
  /** Starts again from the first byte. */
  rewind(): void
  /** The path with all links resolved. Throws `local_io`. */
  realPath(): Promise<string>
  /** Throws `source_changed` when the file is not what it was when it was opened. */
  checkUnchanged(): Promise<void>
}

export interface StreamSource extends BaseSource {
  readonly kind: 'stream'
}

export type Source = FileSource | StreamSource

/**
 * Opens a plain file. Throws `unsafe_path` for a symbolic link, unless links are followed, and for
 * anything that is no file; `local_io` when it cannot be read.
 */
export async function openFileSource(path: string, followLinks: boolean): Promise<FileSource> {
  const handle = await openPlainFile(path, followLinks)
  try {
    return await describeFile(path, handle)
  } catch (error) {
    await handle.close()
    throw localError('read', path, error)
  }
}

async function openPlainFile(path: string, followLinks: boolean): Promise<FileHandle> {
  try {
    const real = followLinks ? await realpath(path) : path
    // Where opening itself refuses links, they need no look of their own.
    if (constants.O_NOFOLLOW === undefined) await refuseLink(path, real)
    // Not to wait for a writer, should it be a named pipe.
    const careful = (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0)
    return await open(real, constants.O_RDONLY | careful).catch(async (error: unknown) => {
      await refuseLink(path, real)
      throw error
    })
  } catch (error) {
    throw localError('read', path, error)
  }
}

async function refuseLink(path: string, real: string): Promise<void> {
  if ((await lstat(real)).isSymbolicLink())
    throw new ArtifactError('unsafe_path', `Cannot read ${path}: it is a symbolic link`)
}

async function describeFile(path: string, handle: FileHandle): Promise<FileSource> {
  const before = await handle.stat({ bigint: true })
  if (!before.isFile())
    throw new ArtifactError('unsafe_path', `Cannot read ${path}: it is not a plain file`)
  let position = 0n
  const readAt = async (buffer: Uint8Array, at: bigint): Promise<number> => {
    try {
      return await readFully(handle, buffer, Number(at))
    } catch (error) {
      throw localError('read', path, error)
    }
  }
  const checkUnchanged = async (): Promise<void> => {
    const after = await handle.stat({ bigint: true })
    if (after.size === before.size && after.mtimeNs === before.mtimeNs) return
    throw sourceChanged(
      path,
      `${before.size} bytes, changed at ${before.mtime.toISOString()}`,
      `${after.size} bytes, changed at ${after.mtime.toISOString()}`,
    )
  }
  return {
    kind: 'file',
    sizeBytes: before.size,
    path,
    mtimeNs: before.mtimeNs,
    async realPath() {
      try {
        return await realpath(path)
      } catch (error) {
        throw localError('read', path, error)
      }
    },
    readAt,
    async read(buffer) {
      const read = await readAt(buffer, position)
      position += BigInt(read)
      return read
    },
    rewind() {
      position = 0n
    },
    checkUnchanged,
    async checkEnd(readBytes) {
      await checkUnchanged()
      if (readBytes !== before.size)
        throw sourceChanged(path, `${before.size} bytes`, `${readBytes} bytes`)
    },
    async [Symbol.asyncDispose]() {
      await handle.close()
    },
  }
}

/** The error for a file that is not what it was. */
export function sourceChanged(path: string, expected: string, found: string): ArtifactError {
  return new ArtifactError(
    'source_changed',
    `Cannot upload ${path}: it changed while it was read`,
    {
      expected,
      found,
    },
  )
}

/** A stream of bytes, read once. What it throws is thrown on, as `local_io` unless it says more. */
export function openStreamSource(
  stream: AsyncIterable<Uint8Array>,
  sizeBytes: bigint | undefined,
): StreamSource {
  const chunks = stream[Symbol.asyncIterator]()
  let rest: Uint8Array = new Uint8Array()
  let isDone = false
  const fill = async (signal: AbortSignal): Promise<void> => {
    try {
      const next = await untilAborted(chunks.next(), signal)
      isDone = next.done === true
      if (next.done !== true) rest = next.value
    } catch (error) {
      // A stream that is bound to the same signal ends with an error of its own.
      throw signal.aborted ? interrupted(signal.reason) : localError('read', 'the stream', error)
    }
  }
  const read = async (buffer: Uint8Array, signal: AbortSignal): Promise<number> => {
    let done = 0
    while (done < buffer.length) {
      if (rest.length === 0) {
        if (isDone) break
        await fill(signal)
        continue
      }
      const piece = rest.subarray(0, buffer.length - done)
      buffer.set(piece, done)
      done += piece.length
      rest = rest.subarray(piece.length)
    }
    return done
  }
  return {
    kind: 'stream',
    sizeBytes,
    read,
    async checkEnd(readBytes, signal) {
      const more = await read(new Uint8Array(1), signal)
      if (sizeBytes === undefined || (more === 0 && readBytes === sizeBytes)) return
      throw new ArtifactError(
        'size_mismatch',
        'Cannot upload the stream: its size is another one',
        {
          expected: `${sizeBytes} bytes`,
          found: more === 0 ? `${readBytes} bytes` : `more than ${readBytes} bytes`,
        },
      )
    },
    async [Symbol.asyncDispose]() {
      // Not waited for: what makes the data may hang, and that is its own affair.
      if (!isDone) void chunks.return?.().catch(() => undefined)
    },
  }
}
