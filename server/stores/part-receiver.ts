/** Takes the bytes of one part from a client: exactly so many, hashed as they are written. */
import { createHash } from 'node:crypto'
import { freeChunk } from '../../client/memory/spent-chunk.ts'
import type { Part } from '../../schemas/artifact.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { PieceBuffers } from './piece-buffers.ts'

/** Puts bytes at a distance from the beginning of the part. They are not changed meanwhile. */
export type WritePiece = (bytes: Uint8Array, at: number) => Promise<void>

/**
 * Hands the bytes of `part` to `write`, and checks that they are what was granted. Never hands over
 * a byte past the size of the part: there the next part begins.
 *
 * Throws `size_mismatch`, `part_mismatch`, `invalid_request` when the body breaks off, and whatever
 * `write` throws; then, and when the digest differs, the body has been read to its end, so that the
 * sender gets to hear why.
 */
export async function receivePart(
  part: Part,
  body: AsyncIterable<Uint8Array>,
  buffers: PieceBuffers,
  write: WritePiece,
): Promise<void> {
  using pieces = createPieces(part, buffers, write)
  let received = 0
  let failure: unknown
  for await (const chunk of fromClient(part, body)) {
    received += chunk.length
    if (received > part.sizeBytes) throw wrongSize(part, `more than ${part.sizeBytes} bytes`)
    if (failure === undefined)
      await pieces.take(chunk).catch((error) => {
        failure = error
      })
  }
  if (failure !== undefined) throw failure
  if (received < part.sizeBytes) throw wrongSize(part, `${received} bytes`)
  const sha256 = await pieces.finish()
  if (sha256 !== part.sha256)
    throw new ArtifactError('part_mismatch', `Cannot receive part ${part.number}: it differs`, {
      expected: `sha256 ${part.sha256}`,
      found: `sha256 ${sha256}`,
    })
}

/** The error for a part of another size than granted. */
export function wrongSize(part: Part, found: string): ArtifactError {
  return new ArtifactError(
    'size_mismatch',
    `Cannot receive part ${part.number}: it has another size`,
    { expected: `${part.sizeBytes} bytes`, found },
  )
}

/** Gathers chunks into pieces. What is hashed is what is written: the same buffer, once. */
function createPieces(part: Part, buffers: PieceBuffers, write: WritePiece) {
  const hash = createHash('sha256')
  const taken = buffers.take(part.sizeBytes)
  const buffer = taken.bytes
  let flushed = 0
  let used = 0
  const flush = async () => {
    const full = buffer.subarray(0, used)
    // The disk and the hash work at the same time.
    const written = write(full, flushed)
    hash.update(full)
    await written
    flushed += used
    used = 0
  }
  return {
    async take(chunk: Uint8Array): Promise<void> {
      for (let at = 0; at < chunk.length; ) {
        const piece = chunk.subarray(at, at + buffer.length - used)
        buffer.set(piece, used)
        used += piece.length
        at += piece.length
        if (used === buffer.length) await flush()
      }
    },
    /** The SHA-256 of everything taken. */
    async finish(): Promise<string> {
      if (used > 0) await flush()
      return hash.digest('hex')
    },
    /** Now, and not when it is found to be garbage: a MiB for each of many parts is a lot by then. */
    [Symbol.dispose]() {
      freeChunk(buffer)
      taken[Symbol.dispose]()
    },
  }
}

/** Keeps a connection that broke apart from a disk that failed. */
async function* fromClient(
  part: Part,
  body: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  try {
    yield* body
  } catch (cause) {
    throw new ArtifactError(
      'invalid_request',
      `Cannot receive part ${part.number}: the request broke off`,
      { cause },
    )
  }
}
