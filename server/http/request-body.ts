/** Bodies of requests as text, straight from the connection: nothing of them is kept when that is read. */
import type { IncomingMessage } from 'node:http'
import { allocatePages, freeBehind, freeChunk } from '../../client/memory/spent-chunk.ts'
import { ArtifactError } from '../../schemas/problems.ts'

/** How many bytes the body has by its own account; `undefined` when it does not say, or not so. */
export function readDeclaredBytes({ headers }: IncomingMessage): number | undefined {
  const text = headers['content-length']
  return text !== undefined && /^[0-9]{1,15}$/.test(text) ? Number(text) : undefined
}

/**
 * The whole body as UTF-8. `hold` hears of what came before it is kept, and is waited for. Throws
 * `body_too_large` when there is more than `bytesMax`, having read no more than that,
 * `invalid_request` when it breaks off, and what `hold` throws.
 */
export async function readBodyText(
  incoming: IncomingMessage,
  bytesMax: number,
  hold?: (bytes: number) => Promise<void>,
): Promise<string> {
  const declared = readDeclaredBytes(incoming)
  if (declared !== undefined && declared > bytesMax) throw tooLarge(bytesMax)
  // Of its own size when that is known: no second copy, and no larger one.
  let memory = allocatePages(declared ?? Math.min(bytesMax, GUESSED_BYTES))
  let used = 0
  for await (const chunk of freeBehind(readChunks(incoming))) {
    if (used + chunk.length > bytesMax) throw tooLarge(bytesMax)
    await hold?.(chunk.length)
    if (used + chunk.length > memory.length) memory = grow(memory, used + chunk.length)
    memory.set(chunk, used)
    used += chunk.length
  }
  const text = memory.toString('utf8', 0, used)
  freeChunk(memory)
  return text
}

const GUESSED_BYTES = 64 * 1024

function grow(memory: Buffer<ArrayBuffer>, leastBytes: number): Buffer<ArrayBuffer> {
  const larger = allocatePages(Math.max(leastBytes, 2 * memory.length))
  memory.copy(larger)
  freeChunk(memory)
  return larger
}

/** Leaves the connection as it is when it is left early: an answer is still to be sent over it. */
async function* readChunks(incoming: IncomingMessage): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of incoming.iterator({ destroyOnReturn: false }))
      if (chunk instanceof Uint8Array) yield chunk
  } catch (cause) {
    throw new ArtifactError('invalid_request', 'Cannot read the request: it broke off', { cause })
  }
}

function tooLarge(bytesMax: number): ArtifactError {
  return new ArtifactError('body_too_large', 'Cannot read the request: its body is too large', {
    expected: `at most ${bytesMax} bytes`,
  })
}
