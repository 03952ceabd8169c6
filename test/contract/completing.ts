/** The contract of a store: completing and discarding. */
import { describe, expect, it } from 'vitest'
import { expectContent, expectProblem, expectRefused, type Get, heldBy } from './expectations.ts'
import {
  begin,
  flipBit,
  grantAll,
  makeBytes,
  makeSample,
  newKey,
  partOf,
  pieceOf,
  readAll,
  sampleOf,
  send,
  sendParts,
  storeSample,
  TTL_SECONDS,
} from './subject.ts'

export function describeCompleting(get: Get): void {
  describe('complete()', () => {
    it('gives the same answer again, one after the other and at once', async () => {
      const sample = makeSample(get(), 40)
      const { session, blob } = await storeSample(get(), sample)
      expect(await get().store.complete(session, sample.parts)).toEqual(blob)
      const again = [1, 2, 3].map(() => get().store.complete(session, sample.parts))
      expect(await Promise.all(again)).toEqual([blob, blob, blob])
    })

    it('completes once when asked twice at once', async () => {
      const sample = makeSample(get(), 41)
      const session = await begin(get(), sample)
      await sendParts(get(), session, sample)
      const both = [1, 2].map(() => get().store.complete(session, sample.parts))
      const [one, other] = await Promise.all(both)
      expect(one?.sizeBytes).toBe(BigInt(sample.bytes.length))
      expect(other).toEqual(one)
      await expectContent(get(), session.key, sample.bytes)
    })

    it('names a part that was not sent, and completes once it came', async () => {
      const sample = makeSample(get(), 42)
      const session = await begin(get(), sample)
      await sendParts(get(), session, sample, [1, 3])
      await expectProblem(get().store.complete(session, sample.parts), 'part_missing')
      expect(await get().store.stat(session.key)).toBeUndefined()
      await sendParts(get(), session, sample, [2])
      await get().store.complete(session, sample.parts)
      await expectContent(get(), session.key, sample.bytes)
    })

    it('names the only part of a small object when it was not sent', async () => {
      const sample = sampleOf([makeBytes(100, 43)])
      const session = await begin(get(), sample)
      await expectProblem(get().store.complete(session, sample.parts), 'part_missing')
    })

    it('refuses a list with a gap, out of order, or with a part twice', async () => {
      const sample = makeSample(get(), 44)
      const session = await begin(get(), sample, true)
      await sendParts(get(), session, sample)
      const [one, two, three] = [1, 2, 3].map((number) => partOf(sample, number))
      if (one === undefined || two === undefined || three === undefined) throw new Error('too few')
      for (const parts of [
        [one, three],
        [two, one, three],
        [one, one, two, three],
        [two, three],
      ])
        await expectProblem(get().store.complete(session, parts), 'part_missing')
      expect(await get().store.stat(session.key)).toBeUndefined()
    })

    it('refuses to leave out a part that was sent', async () => {
      const sample = makeSample(get(), 46)
      const session = await begin(get(), sample, true)
      await sendParts(get(), session, sample)
      const action = get().store.complete(session, sample.parts.slice(0, 2))
      await expectProblem(action, 'size_mismatch')
      expect(await get().store.stat(session.key)).toBeUndefined()
    })

    it('cuts off what a refused part left behind the end', async () => {
      const sample = makeSample(get(), 47)
      const session = await begin(get(), sample, true)
      const third = await get().store.grantPart(session, partOf(sample, 3), TTL_SECONDS)
      await sendParts(get(), session, sample, [1, 2])
      expectRefused(await send(get(), third, flipBit(pieceOf(sample, 3))))
      await get().store.complete(session, sample.parts.slice(0, 2))
      await expectContent(get(), session.key, Buffer.concat(sample.pieces.slice(0, 2)))
    })

    it('refuses a size that the plan or the store does not have', async () => {
      const sample = makeSample(get(), 45)
      const session = await begin(get(), sample, true)
      await sendParts(get(), session, sample)
      const shorter = sample.parts.map((part) =>
        part.number === 3 ? { ...part, sizeBytes: part.sizeBytes - 1 } : part,
      )
      await expectProblem(get().store.complete(session, shorter), 'size_mismatch')
      const told = { ...session, sizeBytes: BigInt(sample.bytes.length - 1) }
      await expectProblem(get().store.complete(told, sample.parts), 'size_mismatch')
      const uneven = sample.parts.map((part) => ({ ...part, sizeBytes: 1000 }))
      await expectProblem(get().store.complete(session, uneven), 'size_mismatch')
    })
  })
}

export function describeDiscarding(get: Get): void {
  describe('discard()', () => {
    it('forgets an open upload, and its grants with it', async () => {
      const sample = makeSample(get(), 50)
      const session = await begin(get(), sample)
      const grants = await grantAll(get(), session, sample)
      await sendParts(get(), session, sample, [1])
      await get().store.discard(session)
      await get().store.discard(session)
      expect(await heldBy(get(), session)).toEqual([])
      for (const [index, grant] of grants.entries())
        expectRefused(await send(get(), grant, pieceOf(sample, index + 1)))
      expect(await heldBy(get(), session)).toEqual([])
      await expectProblem(get().store.complete(session, sample.parts), 'upload_ended')
      expect(await get().store.stat(session.key)).toBeUndefined()
    })

    it('forgets a finished object', async () => {
      const sample = makeSample(get(), 51)
      const { session, blob } = await storeSample(get(), sample)
      await get().store.discard(session)
      await get().store.discard(session)
      expect(await get().store.stat(session.key)).toBeUndefined()
      await expectProblem(readAll(get().store.read(session.key, blob.tag)), 'blob_missing')
    })

    it('does nothing for an upload that never began', async () => {
      const sample = makeSample(get(), 52)
      const session = { ...(await begin(get(), sample)), key: newKey(), session: '' }
      await expect(get().store.discard(session)).resolves.toBeUndefined()
    })

    it('leaves other uploads alone', async () => {
      const sample = makeSample(get(), 53)
      const { session } = await storeSample(get(), sample)
      await get().store.discard(await begin(get(), sample))
      await expectContent(get(), session.key, sample.bytes)
    })
  })
}
