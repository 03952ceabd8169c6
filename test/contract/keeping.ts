/** The contract of a store: what it must keep. */
import { describe, expect, it } from 'vitest'
import { expectContent, type Get } from './expectations.ts'
import { begin, makeBytes, makeSample, sampleOf, sendParts, storeSample } from './subject.ts'

export function describeKeeping(get: Get): void {
  describe('keeping', () => {
    it('keeps parts that come out of order, each at its place', async () => {
      const sample = makeSample(get())
      const session = await begin(get(), sample)
      await sendParts(get(), session, sample, [3, 1, 2])
      expect(await get().store.listParts(session)).toEqual(
        sample.parts.map(({ number, sizeBytes }) => ({ number, sizeBytes })),
      )
      const blob = await get().store.complete(session, sample.parts)
      expect(blob.sizeBytes).toBe(BigInt(sample.bytes.length))
      expect(blob.tag).toMatch(/^"[^"]+"$/)
      expect(await get().store.stat(session.key)).toEqual(blob)
      await expectContent(get(), session.key, sample.bytes)
    })

    it('keeps parts that come at the same time', async () => {
      const sample = makeSample(get(), 2)
      const session = await begin(get(), sample)
      await Promise.all([1, 2, 3].map((number) => sendParts(get(), session, sample, [number])))
      await get().store.complete(session, sample.parts)
      await expectContent(get(), session.key, sample.bytes)
    })

    it('keeps identical parts', async () => {
      const piece = makeBytes(get().partSizeBytes, 3)
      const sample = sampleOf([piece, piece, piece])
      const { session } = await storeSample(get(), sample)
      await expectContent(get(), session.key, sample.bytes)
    })

    it('keeps a single part shorter than the part size', async () => {
      const sample = sampleOf([makeBytes(777, 4)])
      const { session } = await storeSample(get(), sample)
      await expectContent(get(), session.key, sample.bytes)
    })

    it('keeps a stream whose size nobody knew', async () => {
      const sample = makeSample(get(), 5)
      const session = await begin(get(), sample, true)
      await sendParts(get(), session, sample)
      await get().store.complete(session, sample.parts)
      await expectContent(get(), session.key, sample.bytes)
    })

    it.each([false, true])('keeps an empty object (size not known: %s)', async (isUnknown) => {
      const session = await begin(get(), sampleOf([]), isUnknown)
      const blob = await get().store.complete(session, [])
      expect(blob.sizeBytes).toBe(0n)
      expect(await get().store.complete(session, [])).toEqual(blob)
      await expectContent(get(), session.key, Buffer.alloc(0))
    })

    it('answers that it can be used', async () => {
      await expect(get().store.check()).resolves.toBeUndefined()
    })
  })
}
