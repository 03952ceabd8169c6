/** The contract of a store: small blobs that are put and read at the same moment, and may share an object. */
import { describe, expect, it } from 'vitest'
import { type BlobPlan, WHOLE_SESSION } from '../../server/stores/store.ts'
import { expectContent, expectProblem, type Get } from './expectations.ts'
import { grantRead, makeBytes, newKey, readAll, type Subject, sampleOf, send } from './subject.ts'

interface Put {
  plan: BlobPlan
  bytes: Buffer
}

function makePuts({ partSizeBytes }: Subject, sizes: readonly number[]): Put[] {
  return sizes.map((sizeBytes, index) => ({
    plan: {
      key: newKey(),
      sizeBytes: BigInt(sizeBytes),
      partSizeBytes,
      contentType: 'text/plain',
    },
    bytes: makeBytes(sizeBytes, 300 + index),
  }))
}

const SIZES = [5, 0, 4096, 1, 65_536, 4096, 77, 300]

export function describeSharing(get: Get): void {
  const putAll = (puts: readonly Put[]) =>
    Promise.all(puts.map(({ plan, bytes }) => get().store.put(plan, bytes)))
  const discard = ({ plan }: Put) => get().store.discard({ ...plan, session: WHOLE_SESSION })

  describe('put()', () => {
    it.each([1, 2, SIZES.length])('keeps %i that come at the same moment', async (count) => {
      const puts = makePuts(get(), SIZES.slice(0, count))
      const blobs = await putAll(puts)
      expect(blobs.map(({ sizeBytes }) => sizeBytes)).toEqual(puts.map((put) => put.plan.sizeBytes))
      expect(await Promise.all(puts.map(({ plan }) => get().store.stat(plan.key)))).toEqual(blobs)
      await Promise.all(puts.map(({ plan, bytes }) => expectContent(get(), plan.key, bytes)))
    })

    it('gives the same answer again, to all and to one, and so does complete()', async () => {
      const puts = makePuts(get(), SIZES)
      const blobs = await putAll(puts)
      expect(await putAll(puts)).toEqual(blobs)
      const [first] = puts
      if (first === undefined) throw new Error('Nothing was put')
      expect(await putAll([first])).toEqual(blobs.slice(0, 1))
      const completed = puts.map(({ plan, bytes }) => {
        const { parts } = sampleOf(bytes.length === 0 ? [] : [bytes])
        return get().store.complete({ ...plan, session: WHOLE_SESSION }, parts)
      })
      expect(await Promise.all(completed)).toEqual(blobs)
    })

    it('lists as held what complete() would find', async () => {
      const puts = makePuts(get(), SIZES)
      await putAll(puts)
      const held = puts.map(({ plan }) =>
        get().store.listParts({ ...plan, session: WHOLE_SESSION }),
      )
      // A store that knows its keys by a journal of parts has none for these.
      for (const [index, parts] of (await Promise.all(held)).entries())
        expect([[], [{ number: 1, sizeBytes: SIZES[index] }]]).toContainEqual(parts)
    })
  })

  describe('what was put together', () => {
    it('is read by range, and by its own tag alone', async () => {
      const puts = makePuts(get(), SIZES)
      const blobs = await putAll(puts)
      const [, , third] = puts
      if (third === undefined) throw new Error('Too few were put')
      const { key } = third.plan
      const read = (tag: string, range = {}) => readAll(get().store.read(key, tag, range))
      const found = await read(blobs[2]?.tag ?? '', { start: 10n, end: 20n })
      expect(found.equals(third.bytes.subarray(10, 20))).toBe(true)
      expect((await read(blobs[2]?.tag ?? '', { start: 4000n })).length).toBe(96)
      await expectProblem(read(blobs[0]?.tag ?? ''), 'precondition_failed')
    })

    it.each([true, false])('is granted singly, as a download (bound: %s)', async (bound) => {
      const puts = makePuts(get(), SIZES)
      const blobs = await putAll(puts)
      const grants = puts.map(({ plan }, index) =>
        grantRead(get(), plan.key, blobs[index]?.tag ?? '', { bound }),
      )
      for (const [index, grant] of (await Promise.all(grants)).entries()) {
        const { bytes } = puts[index] ?? {}
        const reply = await send(get(), grant)
        expect(reply.status).toBe(200)
        expect(reply.body.equals(bytes ?? Buffer.of(0))).toBe(true)
        const beyond = await send(get(), grant, undefined, { range: 'bytes=65536-' })
        expect(beyond.status).toBe(416)
      }
      // It is the same blob as before.
      expect(await Promise.all(puts.map(({ plan }) => get().store.stat(plan.key)))).toEqual(blobs)
    })

    it('is forgotten singly, and all others stay', async () => {
      const puts = makePuts(get(), SIZES)
      const blobs = await putAll(puts)
      const [gone, granted] = [puts[2], puts[4]]
      if (gone === undefined || granted === undefined) throw new Error('Too few were put')
      const tagOf = (put: Put) => blobs[puts.indexOf(put)]?.tag ?? ''
      await grantRead(get(), granted.plan.key, tagOf(granted))
      for (const put of [gone, granted, gone]) await discard(put)
      for (const put of [gone, granted]) {
        const { key } = put.plan
        expect(await get().store.stat(key)).toBeUndefined()
        await expectProblem(readAll(get().store.read(key, tagOf(put))), 'blob_missing')
      }
      const others = puts.filter((put) => put !== gone && put !== granted)
      await Promise.all(others.map(({ plan, bytes }) => expectContent(get(), plan.key, bytes)))
      await Promise.all(others.map(discard))
      await Promise.all(others.map(discard))
      for (const { plan } of others) expect(await get().store.stat(plan.key)).toBeUndefined()
    })

    it('is handed over by the server', async () => {
      const [blob] = await putAll(makePuts(get(), SIZES))
      expect(get().store.handsOver(blob?.tag ?? '')).toBe(true)
    })
  })

  describe('tidy()', () => {
    it('takes nothing away that somebody has', async () => {
      const puts = makePuts(get(), SIZES)
      await putAll(puts)
      for (let round = 0; round < 2; round++) {
        get().shiftClock(round * 3600)
        await get().store.tidy((subject, error) => {
          throw new Error(`Cannot tidy ${subject}`, { cause: error })
        })
      }
      get().shiftClock(0)
      await Promise.all(puts.map(({ plan, bytes }) => expectContent(get(), plan.key, bytes)))
    })
  })
}
