import { expect, test } from 'vitest'
import { z } from 'zod'
import { newUploadId } from '../../client/transfer/upload-id.ts'

test('newUploadId() makes UUIDs of version 7', () => {
  for (let count = 0; count < 1000; count++) z.uuidv7().parse(newUploadId())
  // The example of RFC 9562, appendix A.6, as far as it is not random.
  expect(newUploadId(0x017f22e279b0)).toMatch(/^017f22e2-79b0-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-/)
})

test('newUploadId() keeps the order of time, and never gives one twice', () => {
  const early = Array.from({ length: 1000 }, () => newUploadId(1_800_000_000_000))
  const late = Array.from({ length: 1000 }, () => newUploadId(1_800_000_000_001))
  expect(new Set([...early, ...late]).size).toBe(2000)
  expect(
    early
      .toSorted()
      .at(-1)
      ?.localeCompare(late.toSorted()[0] ?? ''),
  ).toBe(-1)
})
