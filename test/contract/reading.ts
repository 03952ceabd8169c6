/** The contract of a store: reading, by the server and by grants. */
import { beforeAll, describe, expect, it } from 'vitest'
import { swapSignature, tamperAddress } from './adversary.ts'
import { expectProblem, expectRefused, type Get } from './expectations.ts'
import {
  grantRead,
  makeSample,
  newKey,
  readAll,
  type Sample,
  send,
  sha256Of,
  storeSample,
} from './subject.ts'

export function describeReading(get: Get): void {
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

export function describeDigesting(get: Get): void {
  describe('digest()', () => {
    const ignore = async () => undefined

    /** As whoever checks stored bytes does. */
    async function digestOrRead(key: string, tag: string) {
      const { store } = get()
      const options = { expectedBytes: 1000n, onProgress: ignore }
      return (await store.digest(key, tag, options)) ?? readAll(store.read(key, tag))
    }

    it('knows the size and the SHA-256 of all bytes, and tells how far it is', async () => {
      const sample = makeSample(get(), 63)
      const expectedBytes = BigInt(sample.bytes.length)
      const { session, blob } = await storeSample(get(), sample)
      const heard: bigint[] = []
      const onProgress = async (seen: bigint) => void heard.push(seen)
      const options = { expectedBytes, onProgress }
      expect(await get().store.digest(session.key, blob.tag, options)).toEqual({
        sizeBytes: expectedBytes,
        sha256: sha256Of(sample.bytes),
      })
      expect(heard.at(-1)).toBe(expectedBytes)
    })

    it('refuses another tag', async () => {
      const { session } = await storeSample(get(), makeSample(get(), 64))
      await expectProblem(digestOrRead(session.key, '"other"'), 'precondition_failed')
    })

    it('names a missing object', async () => {
      await expectProblem(digestOrRead(newKey(), '"any"'), 'blob_missing')
    })

    it('stops when it is told to', async () => {
      const sample = makeSample(get(), 65)
      const { session, blob } = await storeSample(get(), sample)
      const stop = new AbortController()
      const action = get().store.digest(session.key, blob.tag, {
        expectedBytes: BigInt(sample.bytes.length),
        onProgress: async () => stop.abort(new Error('enough')),
        signal: stop.signal,
      })
      await expect(action).rejects.toThrow('enough')
    })
  })
}

export function describeReadGrants(get: Get): void {
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
