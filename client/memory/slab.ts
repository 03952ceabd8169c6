import { allocatePages, freeChunk } from './spent-chunk.ts'

/**
 * One memory for the bytes of many small files that come and go together. A buffer of its own for each
 * leaves holes of a few KiB all over the memory of a process when they are gone.
 */
export interface Slab {
  /** Zeros, alone with this caller; a memory of its own once the slab is used up. */
  take(sizeBytes: number): Buffer<ArrayBuffer>
  /** Gives the memory back now; what was taken of it is empty from then on. */
  release(): void
}

/** Makes a slab of so many bytes. */
export function createSlab(sizeBytes: number): Slab {
  const memory = allocatePages(sizeBytes)
  let used = 0
  return {
    take(count) {
      if (count > sizeBytes - used) return Buffer.alloc(count)
      used += count
      return memory.subarray(used - count, used)
    },
    release() {
      freeChunk(memory)
      used = sizeBytes
    },
  }
}

/** A slab for all these texts, for {@link takeBase64}. */
export function createBase64Slab(texts: Iterable<string>): Slab {
  let sizeBytes = 0
  for (const text of texts) sizeBytes += Buffer.byteLength(text, 'base64')
  return createSlab(sizeBytes)
}

/** What `Buffer.from(text, 'base64')` gives, in memory of the slab. */
export function takeBase64(slab: Slab, text: string): Buffer<ArrayBuffer> {
  // Of a text with odd characters in it there is less than its length says.
  const bytes = slab.take(Buffer.byteLength(text, 'base64'))
  return bytes.subarray(0, bytes.write(text, 'base64'))
}
