/**
 * Gives the memory of a chunk back now, instead of when it is found to be garbage. A stream of bytes
 * makes a new buffer for every 64 KiB; that many of them start the garbage collector, over and over
 * the whole heap, at about the cost of a hash.
 *
 * The chunk is empty afterwards. Only for one that nobody else has a hand in: a view on a part of a
 * larger memory, or on shared memory, is left alone.
 */
export function freeChunk(chunk: Uint8Array): void {
  const { buffer } = chunk
  if (buffer instanceof ArrayBuffer && buffer.byteLength === chunk.byteLength)
    buffer.transferToFixedLength(0)
}

/** From here on pages of its own cost less than the holes that a buffer leaves behind. */
const PAGES_FROM_BYTES = 128 * 1024

/**
 * Zeros for many bytes that come and go, in pages that go back to the system with {@link freeChunk}.
 * What comes from the heap of C leaves a hole there: glibc gives large memory pages of its own until it
 * sees some of it freed, and takes it from its heap from then on (mallopt(3), `M_MMAP_THRESHOLD`). An
 * `ArrayBuffer` that could be resized, were it not as large as it can be, never lies there.
 */
export function allocatePages(sizeBytes: number): Buffer<ArrayBuffer> {
  if (sizeBytes < PAGES_FROM_BYTES) return Buffer.alloc(sizeBytes)
  return Buffer.from(new ArrayBuffer(sizeBytes, { maxByteLength: sizeBytes }), 0, sizeBytes)
}

/** Hands the chunks on, each good until the next one is asked for; then its memory is given back. */
export async function* freeBehind(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    yield chunk
    freeChunk(chunk)
  }
}
