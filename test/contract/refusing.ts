/** The contract of a store: what it must refuse, and that a refusal changes nothing. */
import { describe, expect, it } from 'vitest'
import type { Grant } from '../../schemas/upload.ts'
import { changeText, sendAndHangUp, swapSignature, tamperAddress } from './adversary.ts'
import { expectContent, expectRefused, type Get, heldBy } from './expectations.ts'
import {
  begin,
  flipBit,
  grantAll,
  grantRead,
  makeBytes,
  makeSample,
  partOf,
  pieceOf,
  type Sample,
  sampleOf,
  send,
  sendParts,
  storeSample,
  TTL_SECONDS,
} from './subject.ts'

export function describeRefusing(get: Get): void {
  describe('refusing bytes', () => {
    /** Sends what must be refused as part 2 of a fresh upload, and then what is right. */
    async function expectOnlyRight(seed: number, wrong: (sample: Sample, grant: Grant) => unknown) {
      const sample = makeSample(get(), seed)
      const session = await begin(get(), sample)
      const grant = await get().store.grantPart(session, partOf(sample, 2), TTL_SECONDS)
      await wrong(sample, grant)
      expect(await heldBy(get(), session)).toEqual([])
      await sendParts(get(), session, sample, [2])
      expect(await heldBy(get(), session)).toEqual([2])
      await sendParts(get(), session, sample, [1, 3])
      await get().store.complete(session, sample.parts)
      await expectContent(get(), session.key, sample.bytes)
    }

    it('refuses a part with one bit flipped', async () => {
      await expectOnlyRight(10, async (sample, grant) => {
        expectRefused(await send(get(), grant, flipBit(pieceOf(sample, 2))))
      })
    })

    it('refuses the bytes of another part', async () => {
      await expectOnlyRight(11, async (sample, grant) => {
        expectRefused(await send(get(), grant, pieceOf(sample, 1)))
      })
    })

    it('refuses a part that is cut short', async () => {
      await expectOnlyRight(12, async (sample, grant) => {
        const short = pieceOf(sample, 2).subarray(0, -1)
        const length = { 'content-length': String(short.length) }
        expectRefused(await send(get(), grant, short, length))
      })
    })

    it('refuses a part that is padded', async () => {
      await expectOnlyRight(13, async (sample, grant) => {
        const long = Buffer.concat([pieceOf(sample, 2), Buffer.of(0)])
        const length = { 'content-length': String(long.length) }
        expectRefused(await send(get(), grant, long, length))
      })
    })

    it('forgets a part whose connection broke in the middle', async () => {
      await expectOnlyRight(14, async (sample, grant) => {
        const piece = pieceOf(sample, 2)
        await sendAndHangUp(get(), grant, piece.subarray(0, piece.length >> 1))
      })
    })

    it('refuses a single small object with other bytes', async () => {
      const sample = sampleOf([makeBytes(500, 15)])
      const session = await begin(get(), sample)
      const grant = await get().store.grantPart(session, partOf(sample, 1), TTL_SECONDS)
      expectRefused(await send(get(), grant, flipBit(pieceOf(sample, 1))))
      expect(await heldBy(get(), session)).toEqual([])
      expect(await get().store.stat(session.key)).toBeUndefined()
    })

    it('refuses a grant after its time', async () => {
      const sample = makeSample(get(), 16)
      const session = await begin(get(), sample)
      // S3 takes a signed request for a quarter of an hour.
      get().shiftClock(-1000)
      const old = await get().store.grantPart(session, partOf(sample, 1), TTL_SECONDS)
      get().shiftClock(0)
      expectRefused(await send(get(), old, pieceOf(sample, 1)))
      expect(await heldBy(get(), session)).toEqual([])
    })

    it('says when a grant ends', async () => {
      const sample = makeSample(get(), 17)
      const session = await begin(get(), sample)
      const before = Date.now()
      const grant = await get().store.grantPart(session, partOf(sample, 1), TTL_SECONDS)
      const ends = Date.parse(grant.expiresAt)
      expect(ends).toBeGreaterThan(before)
      expect(ends).toBeLessThanOrEqual(Date.now() + TTL_SECONDS * 1000)
    })
  })
}

export function describeTampering(get: Get): void {
  describe('refusing tampered grants', () => {
    it('refuses a grant when any word of its address is changed, dropped or doubled', async () => {
      const sample = makeSample(get(), 20)
      const session = await begin(get(), sample)
      const grant = await get().store.grantPart(session, partOf(sample, 1), TTL_SECONDS)
      for (const url of tamperAddress(get().origin, grant.url))
        expectRefused(await send(get(), { ...grant, url }, pieceOf(sample, 1)))
      expect(await heldBy(get(), session)).toEqual([])
    })

    it('refuses a grant when any of its headers is changed', async () => {
      const sample = makeSample(get(), 21)
      const session = await begin(get(), sample)
      const grant = await get().store.grantPart(session, partOf(sample, 1), TTL_SECONDS)
      for (const name of Object.keys(grant.headers).filter((name) => name !== 'content-length')) {
        const changed = changeText(grant.headers[name] ?? '')
        expectRefused(await send(get(), grant, pieceOf(sample, 1), { [name]: changed }))
      }
      expect(await heldBy(get(), session)).toEqual([])
    })

    it('refuses a grant of one part for another part', async () => {
      const sample = makeSample(get(), 22)
      const session = await begin(get(), sample)
      const [one, two] = await grantAll(get(), session, sample)
      if (one === undefined || two === undefined) throw new Error('The sample has too few parts')
      // The address of part 2 with the headers, and where there is one the signature, of part 1.
      const swapped = { ...one, url: swapSignature(get().origin, two.url, one.url) }
      expectRefused(await send(get(), swapped, pieceOf(sample, 1)))
      expectRefused(await send(get(), swapped, pieceOf(sample, 2)))
      expect(await heldBy(get(), session)).toEqual([])
    })

    it('refuses a grant of one upload for another upload', async () => {
      const sample = makeSample(get(), 23)
      const mine = await begin(get(), sample)
      const theirs = await begin(get(), sample)
      const part = partOf(sample, 1)
      const my = await get().store.grantPart(mine, part, TTL_SECONDS)
      const their = await get().store.grantPart(theirs, part, TTL_SECONDS)
      const swapped = { ...my, url: swapSignature(get().origin, their.url, my.url) }
      expectRefused(await send(get(), swapped, pieceOf(sample, 1)))
      expect(await heldBy(get(), theirs)).toEqual([])
    })

    it('refuses to read with a grant to write, and the other way round', async () => {
      const sample = makeSample(get(), 24)
      const { session, blob } = await storeSample(get(), sample)
      const grant = await get().store.grantPart(session, partOf(sample, 1), TTL_SECONDS)
      const read = await grantRead(get(), session.key, blob.tag)
      const noLength = Object.fromEntries(
        Object.entries(grant.headers).filter(([name]) => name !== 'content-length'),
      )
      expectRefused(await send(get(), { method: 'GET', url: grant.url, headers: noLength }))
      expectRefused(await send(get(), { ...read, method: 'PUT' }, Buffer.from('other bytes')))
      await expectContent(get(), session.key, sample.bytes)
    })
  })
}

export function describeReplaying(get: Get): void {
  describe('replaying grants', () => {
    it('keeps a held part when its grant comes again with other bytes', async () => {
      const sample = makeSample(get(), 30)
      const session = await begin(get(), sample)
      const grants = await grantAll(get(), session, sample)
      await sendParts(get(), session, sample)
      for (const [index, grant] of grants.entries())
        expectRefused(await send(get(), grant, flipBit(pieceOf(sample, index + 1))))
      expect(await heldBy(get(), session)).toEqual([1, 2, 3])
      await get().store.complete(session, sample.parts)
      await expectContent(get(), session.key, sample.bytes)
    })

    it('takes the same part again while the upload is open', async () => {
      const sample = makeSample(get(), 31)
      const session = await begin(get(), sample)
      await sendParts(get(), session, sample, [1, 1, 2, 3, 2])
      await get().store.complete(session, sample.parts)
      await expectContent(get(), session.key, sample.bytes)
    })

    it.each([3, 1])('changes nothing of a finished object of %i parts', async (count) => {
      const whole = makeSample(get(), 32)
      const sample = sampleOf(count === 1 ? whole.pieces.slice(2) : whole.pieces)
      const session = await begin(get(), sample)
      const grants = await grantAll(get(), session, sample)
      await sendParts(get(), session, sample)
      const blob = await get().store.complete(session, sample.parts)
      for (const [index, grant] of grants.entries()) {
        const piece = pieceOf(sample, index + 1)
        expectRefused(await send(get(), grant, piece))
        expectRefused(await send(get(), grant, flipBit(piece)))
      }
      expect(await get().store.stat(session.key)).toEqual(blob)
      await expectContent(get(), session.key, sample.bytes)
    })

    it('changes nothing of a finished object by a part that was never sent', async () => {
      const sample = makeSample(get(), 33)
      const session = await begin(get(), sample, true)
      const [, , third] = await grantAll(get(), session, sample)
      if (third === undefined) throw new Error('The sample has too few parts')
      await sendParts(get(), session, sample, [1, 2])
      const blob = await get().store.complete(session, sample.parts.slice(0, 2))
      expectRefused(await send(get(), third, pieceOf(sample, 3)))
      expect(await get().store.stat(session.key)).toEqual(blob)
    })
  })
}
