/** What is stored is read as far as it was claimed, and no further. */
import { describe, expect, it } from 'vitest'
import { checkStored, type StoredBytes } from '../../server/seal/reread.ts'
import { makeContent } from '../support/upload.ts'

const content = makeContent(2500, 'read', 1000)
const claim = { ...content, sizeBytes: BigInt(content.sizeBytes) }

/** Hears of progress as if a store had no end, and counts how often. */
function openEndless(isByThread: boolean) {
  const chunk = new Uint8Array(1000)
  const stored = {
    steps: 0,
    async *read() {
      for (;;) {
        stored.steps++
        yield chunk
      }
    },
    async digest(onProgress) {
      if (!isByThread) return undefined
      for (let bytes = 0n; ; bytes += BigInt(chunk.length)) {
        stored.steps++
        await onProgress(bytes)
      }
    },
  } satisfies StoredBytes & { steps: number }
  return stored
}

describe('checkStored()', () => {
  it.each([true, false])(
    'gives up an object without an end (hashed elsewhere: %s)',
    async (isByThread) => {
      const stored = openEndless(isByThread)
      const listener = { onProgress: async () => undefined, onMisread: () => undefined }
      await expect(checkStored(stored, claim, listener)).rejects.toMatchObject({
        code: 'size_mismatch',
        found: 'more than 2500 bytes',
      })
      expect(stored.steps).toBeLessThan(5)
    },
  )
})
