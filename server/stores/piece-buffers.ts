/**
 * Buffers for the pieces in which bodies pass through this server, large ones while few share the
 * memory: pieces of a MiB spare the processors, and hundreds of slow connections must not have one each.
 */
import { allocatePages } from '../../client/memory/spent-chunk.ts'

/** A buffer that counts until it is disposed of. */
export interface PieceBuffer extends Disposable {
  /** Its memory is the taker's, to keep or to free. */
  readonly bytes: Buffer<ArrayBuffer>
}

export interface PieceBuffers {
  /** A buffer of at most so many bytes, and of at least {@link PIECE_BYTES_MIN} if they are that many. */
  take(bytesMax: number): PieceBuffer
}

/** Largest and smallest piece, in bytes. */
export const PIECE_BYTES_MAX = 1024 ** 2
export const PIECE_BYTES_MIN = 64 * 1024
/** What they share. */
const SHARED_BYTES = 24 * 1024 ** 2
/** The next one gets no more than this of what is left, so that there is always some left. */
const PART_OF_REST = 1 / 4

/** Makes the buffers of one store. All of them together exceed `sharedBytes` by the smallest ones alone. */
export function createPieceBuffers(sharedBytes = SHARED_BYTES): PieceBuffers {
  let free = sharedBytes
  return {
    take(bytesMax) {
      const due = Math.floor((free * PART_OF_REST) / PIECE_BYTES_MIN) * PIECE_BYTES_MIN
      const sizeBytes = Math.min(bytesMax, PIECE_BYTES_MAX, Math.max(PIECE_BYTES_MIN, due))
      free -= sizeBytes
      let isOver = false
      return {
        bytes: allocatePages(sizeBytes),
        [Symbol.dispose]() {
          if (!isOver) free += sizeBytes
          isOver = true
        },
      }
    },
  }
}
