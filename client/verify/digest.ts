/**
 * Digests of an artifact as its bytes go by: of every part and of the whole, in one pass.
 */
import { createHash, type Hash } from 'node:crypto'
import type { Part } from '../../schemas/artifact.ts'

/** SHA-256 of nothing (FIPS 180-4). */
export const EMPTY_SHA256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'

/** What some bytes turned out to be. */
export interface ContentDigest {
  sizeBytes: bigint
  /** Of the whole. */
  sha256: string
  /** In order; none for no bytes. */
  parts: Part[]
}

/** Hashes a stream of bytes; give it every byte once, in order. */
export interface ContentHasher {
  /** Bytes seen so far. */
  readonly sizeBytes: bigint
  /** Parts that are complete so far. */
  readonly parts: readonly Part[]
  update(chunk: Uint8Array): void
  /** The next part as a whole, whose own digest the caller has computed just now. */
  updatePart(bytes: Uint8Array, sha256: string): void
  /** Ends a part that is shorter than the others (the last one) and gives everything; call it once. */
  finish(): ContentDigest
  /** An independent hasher in the same state: where to go back to when a part must be read again. */
  fork(): ContentHasher
}

/** Lower-case hexadecimal SHA-256 of one piece of memory. */
export function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** A hasher for an artifact that is cut into parts of `partSizeBytes`, the last one shorter. */
export function createContentHasher(partSizeBytes: number): ContentHasher {
  return hasher(partSizeBytes, {
    whole: createHash('sha256'),
    part: undefined,
    filled: 0,
    total: 0n,
    parts: [],
  })
}

interface HasherState {
  whole: Hash
  /** `undefined` in the first part: until it ends, the whole is that part, and is hashed once. */
  part: Hash | undefined
  /** Bytes in the part that is not complete. */
  filled: number
  /** Bytes of all parts, that one included. */
  total: bigint
  parts: Part[]
}

function hasher(partSizeBytes: number, state: HasherState): ContentHasher {
  const endPart = () => {
    const sha256 = (state.part ?? state.whole.copy()).digest('hex')
    state.parts.push({ number: state.parts.length + 1, sizeBytes: state.filled, sha256 })
    state.part = createHash('sha256')
    state.filled = 0
  }
  return {
    get sizeBytes() {
      return state.total
    },
    get parts() {
      return state.parts
    },
    update(chunk) {
      state.total += BigInt(chunk.length)
      for (let rest = chunk; rest.length > 0; ) {
        const piece = rest.subarray(0, partSizeBytes - state.filled)
        state.whole.update(piece)
        state.part?.update(piece)
        state.filled += piece.length
        if (state.filled === partSizeBytes) endPart()
        rest = rest.subarray(piece.length)
      }
    },
    updatePart(bytes, sha256) {
      if (state.filled > 0) throw new Error('A part was added in the middle of another')
      state.whole.update(bytes)
      state.total += BigInt(bytes.length)
      state.parts.push({ number: state.parts.length + 1, sizeBytes: bytes.length, sha256 })
      state.part = createHash('sha256')
    },
    finish() {
      if (state.filled > 0) endPart()
      return { sizeBytes: state.total, sha256: state.whole.digest('hex'), parts: state.parts }
    },
    fork() {
      return hasher(partSizeBytes, {
        whole: state.whole.copy(),
        part: state.part?.copy(),
        filled: state.filled,
        total: state.total,
        parts: [...state.parts],
      })
    },
  }
}
