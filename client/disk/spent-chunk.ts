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
  if (buffer instanceof ArrayBuffer && buffer.byteLength === chunk.byteLength) buffer.transfer(0)
}

/** Hands the chunks on, each good until the next one is asked for; then its memory is given back. */
export async function* freeBehind(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    yield chunk
    freeChunk(chunk)
  }
}
