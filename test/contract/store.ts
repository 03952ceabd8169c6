/**
 * The contract of `server/stores/store.ts`, as tests. Every store is held to all of it: what it must
 * keep, what it must refuse, and that a refusal changes nothing.
 */

import { once } from 'node:events'
import { request as openRequest } from 'node:http'
import { request as openSecureRequest } from 'node:https'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ArtifactError, type ProblemCode } from '../../schemas/problems.ts'
import type { Grant } from '../../schemas/upload.ts'
import type { BlobSession } from '../../server/stores/store.ts'
import {
  begin,
  flipBit,
  grantAll,
  isRefused,
  makeBytes,
  makeSample,
  newKey,
  partOf,
  pieceOf,
  type Reply,
  readAll,
  type Sample,
  type Subject,
  sampleOf,
  send,
  sendParts,
  store as storeSample,
  TTL_SECONDS,
} from './subject.ts'

/** Runs the contract against the store that `open` gives. */
export function describeStoreContract(name: string, open: () => Promise<Subject>): void {
  describe(`contract of the ${name} store`, () => {
    let subject: Subject
    beforeAll(async () => {
      subject = await open()
    })
    afterAll(async () => {
      await subject?.[Symbol.asyncDispose]()
    })
    const get = () => subject
    describeKeeping(get)
    describeRefusing(get)
    describeTampering(get)
    describeReplaying(get)
    describeCompleting(get)
    describeDiscarding(get)
    describeReading(get)
    describeReadGrants(get)
  })
}

type Get = () => Subject

/** The numbers of the parts held. */
async function heldBy({ store }: Subject, session: BlobSession): Promise<number[]> {
  return (await store.listParts(session)).map(({ number }) => number)
}

async function expectContent({ store }: Subject, key: string, bytes: Buffer): Promise<void> {
  const blob = await store.stat(key)
  expect(blob?.sizeBytes).toBe(BigInt(bytes.length))
  const found = await readAll(store.read(key, blob?.tag ?? ''))
  expect(found.equals(bytes)).toBe(true)
}

function expectRefused(reply: Reply): void {
  expect(isRefused(reply), `status ${reply.status}: ${reply.body}`).toBe(true)
}

async function expectProblem(action: Promise<unknown>, code: ProblemCode): Promise<void> {
  await expect(action).rejects.toSatisfy(
    (error) => error instanceof ArtifactError && error.code === code,
    `an ArtifactError with code ${code}`,
  )
}

function describeKeeping(get: Get): void {
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

function describeRefusing(get: Get): void {
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

function describeTampering(get: Get): void {
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

function describeReplaying(get: Get): void {
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

function describeCompleting(get: Get): void {
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

function describeDiscarding(get: Get): void {
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

function describeReading(get: Get): void {
  describe('read()', () => {
    it('reads any range, across parts too', async () => {
      const sample = makeSample(get(), 60)
      const { session, blob } = await storeSample(get(), sample)
      const edge = BigInt(get().partSizeBytes)
      const size = BigInt(sample.bytes.length)
      const ranges: [bigint, bigint | undefined][] = [
        [0n, 1n],
        [0n, size],
        [edge - 3n, edge + 3n],
        [size - 1n, size],
        [edge, undefined],
        [5n, 5n],
      ]
      for (const [start, end] of ranges) {
        const options = end === undefined ? { start } : { start, end }
        const found = await readAll(get().store.read(session.key, blob.tag, options))
        const expected = sample.bytes.subarray(Number(start), Number(end ?? size))
        expect(found.equals(expected), `range ${start}-${end}`).toBe(true)
      }
    })

    it('refuses another tag', async () => {
      const sample = makeSample(get(), 61)
      const { session } = await storeSample(get(), sample)
      const action = readAll(get().store.read(session.key, '"other"'))
      await expectProblem(action, 'precondition_failed')
    })

    it('names a missing object', async () => {
      await expectProblem(readAll(get().store.read(newKey(), '"any"')), 'blob_missing')
      expect(await get().store.stat(newKey())).toBeUndefined()
    })

    it('stops when it is told to', async () => {
      const sample = makeSample(get(), 62)
      const { session, blob } = await storeSample(get(), sample)
      const stop = new AbortController()
      const action = async () => {
        const options = { signal: stop.signal, end: BigInt(sample.bytes.length) }
        for await (const _ of get().store.read(session.key, blob.tag, options))
          stop.abort(new Error('enough'))
      }
      await expect(action()).rejects.toThrow('enough')
    })
  })
}

function describeReadGrants(get: Get): void {
  describe('grantRead()', () => {
    let key: string
    let tag: string
    let sample: Sample
    beforeAll(async () => {
      sample = makeSample(get(), 70)
      const { session, blob } = await storeSample(get(), sample)
      key = session.key
      tag = blob.tag
    })

    it.each([true, false])('reads the whole as a download (bound: %s)', async (bound) => {
      const reply = await send(get(), await grantRead(get(), key, tag, { bound }))
      expect(reply.status).toBe(200)
      expect(reply.body.equals(sample.bytes)).toBe(true)
      expect(reply.headers).toMatchObject({
        etag: tag,
        'accept-ranges': 'bytes',
        'content-length': String(sample.bytes.length),
        'content-type': 'text/html',
        'cache-control': 'private, no-transform',
        'content-disposition':
          'attachment; filename="na_ve_ _x_.txt"; filename*=UTF-8\'\'na%C3%AFve%25%20%22x%22.txt',
      })
    })

    it('reads one range', async () => {
      const grant = await grantRead(get(), key, tag)
      const size = sample.bytes.length
      const ranges: [string, number, number][] = [
        ['bytes=0-0', 0, 1],
        ['bytes=10-19', 10, 20],
        ['bytes=-5', size - 5, size],
        [`bytes=${size - 2}-`, size - 2, size],
        [`bytes=100-${size * 2}`, 100, size],
      ]
      for (const [range, start, end] of ranges) {
        const reply = await send(get(), grant, undefined, { range })
        expect(reply.status).toBe(206)
        expect(reply.headers['content-range']).toBe(`bytes ${start}-${end - 1}/${size}`)
        expect(reply.body.equals(sample.bytes.subarray(start, end)), range).toBe(true)
      }
    })

    it('refuses a range that lies outside', async () => {
      const grant = await grantRead(get(), key, tag)
      const range = `bytes=${sample.bytes.length}-`
      expect((await send(get(), grant, undefined, { range })).status).toBe(416)
    })

    it('refuses a bound grant without its If-Match, or with another one', async () => {
      const grant = await grantRead(get(), key, tag, { bound: true })
      expect((await send(get(), { ...grant, headers: {} })).status).toBe(403)
      expectRefused(await send(get(), grant, undefined, { 'if-match': '"other"' }))
    })

    it('refuses a bound grant for another object', async () => {
      const grant = await grantRead(get(), key, '"other"', { bound: true })
      expect((await send(get(), grant)).status).toBe(412)
    })

    it('refuses a grant when any word of its address is changed, dropped or doubled', async () => {
      const grant = await grantRead(get(), key, tag)
      for (const url of tamperAddress(get().origin, grant.url))
        expectRefused(await send(get(), { ...grant, url }))
    })

    it('refuses a grant for another object', async () => {
      const other = await storeSample(get(), makeSample(get(), 71))
      const grant = await grantRead(get(), key, tag)
      const their = await grantRead(get(), other.session.key, other.blob.tag)
      const url = swapSignature(get().origin, their.url, grant.url)
      expectRefused(await send(get(), { ...grant, url }))
    })

    it('refuses a grant after its time', async () => {
      get().shiftClock(-1000)
      const grant = await grantRead(get(), key, tag)
      get().shiftClock(0)
      expectRefused(await send(get(), grant))
    })
  })
}

function grantRead({ store }: Subject, key: string, tag: string, { bound = false } = {}) {
  return store.grantRead(key, tag, {
    fileName: 'naïve% "x".txt',
    contentType: 'text/html',
    ttlSeconds: TTL_SECONDS,
    bound,
  })
}

/** The address with one thing wrong, in every way there is. */
function tamperAddress(origin: string, address: string): string[] {
  const tampered: string[] = []
  const edit = (change: (url: URL) => void) => {
    const url = new URL(address, origin)
    change(url)
    tampered.push(url.href)
  }
  edit((url) => {
    url.pathname = changeText(url.pathname)
  })
  for (const name of new Set(new URL(address, origin).searchParams.keys())) {
    edit(({ searchParams }) => searchParams.set(name, changeText(searchParams.get(name) ?? '')))
    edit(({ searchParams }) => searchParams.delete(name))
    edit(({ searchParams }) => searchParams.append(name, changeText(searchParams.get(name) ?? '')))
  }
  return tampered
}

/** Another text of the same length and kind: its last letter or digit changed. */
function changeText(text: string): string {
  return (
    text.replace(/([A-Za-z0-9])([^A-Za-z0-9]*)$/, (_, last: string, rest: string) => {
      const other = /[0-9]/.test(last) ? String((Number(last) + 1) % 10) : last === 'a' ? 'b' : 'a'
      return other + rest
    }) || 'x'
  )
}

/** The address of one grant with the signature of another, where it stands in the address. */
function swapSignature(origin: string, address: string, signed: string): string {
  const url = new URL(address, origin)
  const from = new URL(signed, origin)
  for (const name of ['signature', 'X-Amz-Signature']) {
    const signature = from.searchParams.get(name)
    if (signature !== null) url.searchParams.set(name, signature)
  }
  return url.href
}

/** Sends the beginning of a granted request and closes the connection for good. */
async function sendAndHangUp({ origin }: Subject, grant: Grant, some: Buffer): Promise<void> {
  const url = new URL(grant.url, origin)
  const open = url.protocol === 'https:' ? openSecureRequest : openRequest
  const request = open(url, { method: grant.method, headers: grant.headers, agent: false })
  // Whatever it answers, or whether it does at all, is of no interest.
  request.on('error', () => undefined)
  request.on('response', (reply) => reply.resume())
  await new Promise((resolve) => request.write(some, resolve))
  const closed = once(request, 'close')
  request.socket?.end()
  await closed
}
