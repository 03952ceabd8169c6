/** Reading objects of a real gateway: long ones, slow ones, and over connections that break. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../server/clock.ts'
import { createPackIndex } from '../../server/records/packs.ts'
import { openS3Store, type S3Store } from '../../server/stores/s3.ts'
import {
  makeBytes,
  makeSample,
  newKey,
  readAll,
  type Subject,
  sampleOf,
  sha256Of,
  storeSample,
} from '../contract/subject.ts'
import { getTestS3 } from '../support/ceph.ts'
import { MIB } from '../support/content.ts'
import { createTestDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/postgres-cluster.ts'
import { openS3Proxy } from '../support/s3-proxy.ts'
import { openS3Subject } from './s3-subject.ts'

const prefix = `test/${randomUUID()}`
let database: TestDatabase
let subject: Subject

beforeAll(async () => {
  database = await createTestDatabase()
  subject = await openS3Subject(getTestS3())
})
afterAll(async () => {
  await database?.[Symbol.asyncDispose]()
  await subject?.[Symbol.asyncDispose]()
})

/** A store as another server has it, by another way. */
function open(changes: Partial<Parameters<typeof openS3Store>[0]>): Promise<S3Store> {
  const { endpoint, region, bucket, accessKeyId, secretAccessKey } = getTestS3()
  return openS3Store({
    endpoint,
    region,
    bucket,
    prefix,
    forcePathStyle: true,
    credentials: { accessKeyId, secretAccessKey },
    clock: systemClock,
    packs: createPackIndex(database.server, systemClock),
    ...changes,
  })
}

describe('read()', () => {
  it.each([0n, 1n])('goes on where a connection broke (known to be long: %s)', async (times) => {
    const sample = makeSample(subject, 88)
    const expectedBytes = times * BigInt(sample.bytes.length)
    let cuts = 0
    await using proxy = await openS3Proxy(getTestS3().endpoint, {
      cutAfter: (method) => (method === 'GET' && ++cuts <= 3 ? 3_000_000 : undefined),
    })
    await using store = await open({ endpoint: proxy.endpoint, ahead: { piecesMax: 0 } })
    const { session, blob } = await storeSample({ ...subject, store }, sample)
    cuts = 0
    const found = await readAll(store.read(session.key, blob.tag, { expectedBytes }))
    expect(found.equals(sample.bytes)).toBe(true)
    expect(cuts).toBe(4)
  })

  it('reads what is long over sockets of its own, and asks the SDK when the answer is no plain one', async () => {
    const sample = makeSample(subject, 90)
    const expectedBytes = BigInt(sample.bytes.length)
    const seen: string[] = []
    let refusals = 0
    await using proxy = await openS3Proxy(getTestS3().endpoint, {
      onRequest({ method, headers: { connection, range } }) {
        if (method === 'GET') seen.push(`${connection} ${range ?? 'whole'}`)
      },
      changeStatus: (method, _path, status) => (method === 'GET' && refusals-- > 0 ? 503 : status),
    })
    await using store = await open({ endpoint: proxy.endpoint, ahead: { piecesMax: 0 } })
    const { session, blob } = await storeSample({ ...subject, store }, sample)
    const read = async (options: Parameters<typeof store.read>[2], count: number) => {
      seen.length = 0
      refusals = count
      return readAll(store.read(session.key, blob.tag, options))
    }
    expect((await read({ expectedBytes }, 0)).equals(sample.bytes)).toBe(true)
    expect(seen).toEqual(['close whole'])
    const rest = await read({ start: 1000n, expectedBytes: expectedBytes - 1000n }, 0)
    expect(rest.equals(sample.bytes.subarray(1000))).toBe(true)
    expect(seen).toEqual(['close bytes=1000-'])
    expect((await read({ expectedBytes }, 1)).equals(sample.bytes)).toBe(true)
    expect(seen).toEqual(['close whole', 'keep-alive whole'])
    expect((await read({}, 0)).equals(sample.bytes)).toBe(true)
    expect(seen).toEqual(['keep-alive whole'])
  })

  it('reads in pieces side by side what comes slowly, and goes on where one broke', async () => {
    const sample = makeSample(subject, 92)
    const expectedBytes = BigInt(sample.bytes.length)
    const ranges: (string | undefined)[] = []
    let underWay = 0
    let most = 0
    let cuts = 0
    await using proxy = await openS3Proxy(getTestS3().endpoint, {
      onRequest({ method, headers: { connection, range }, socket }) {
        // Of long reads alone; the SDK keeps its connections.
        if (method !== 'GET' || connection !== 'close') return
        ranges.push(range)
        most = Math.max(most, ++underWay)
        socket.once('close', () => {
          underWay -= 1
        })
      },
      bytesPerSecond: ({ method }) => (method === 'GET' ? 4 * MIB : undefined),
      cutAfter: (method) => (method === 'GET' && ++cuts === 4 ? 300_000 : undefined),
    })
    const ahead = { pieceBytes: MIB, piecesMax: 3, slowMs: 50 }
    await using store = await open({ endpoint: proxy.endpoint, ahead })
    const { session, blob } = await storeSample({ ...subject, store }, sample)
    ranges.length = 0
    most = 0
    cuts = 0
    const found = await readAll(store.read(session.key, blob.tag, { expectedBytes }))
    expect(found.equals(sample.bytes)).toBe(true)
    expect(most).toBeGreaterThan(2)
    expect(most).toBeLessThan(6)
    const pieces = ranges.filter((range) => range !== undefined && !range.endsWith('-'))
    expect(pieces.length).toBeGreaterThan(3)
  })

  it('names another tag, a missing object and a wish to stop where it is long, too', async () => {
    const sample = makeSample(subject, 91)
    const expectedBytes = BigInt(sample.bytes.length)
    const { store } = subject
    const { session, blob } = await storeSample(subject, sample)
    await expect(
      readAll(store.read(session.key, '"other"', { expectedBytes })),
    ).rejects.toMatchObject({ code: 'precondition_failed' })
    await expect(readAll(store.read(newKey(), blob.tag, { expectedBytes }))).rejects.toMatchObject({
      code: 'blob_missing',
    })
    const stop = new AbortController()
    const readUntilStopped = async () => {
      for await (const _ of store.read(session.key, blob.tag, {
        expectedBytes,
        signal: stop.signal,
      }))
        stop.abort(new Error('enough'))
    }
    await expect(readUntilStopped()).rejects.toThrow('enough')
  })

  it.each([
    ['short', 92, false],
    ['long', 93, true],
  ])(
    'goes on from where one dripped, and gives up a store that does nothing else (%s)',
    async (_, seed, isLong) => {
      const sample = makeSample(subject, seed)
      const expectedBytes = isLong ? BigInt(sample.bytes.length) : 0n
      let drips = 0
      let asked = 0
      await using proxy = await openS3Proxy(getTestS3().endpoint, {
        dripMs({ method }) {
          if (method !== 'GET') return undefined
          asked++
          return drips-- > 0 ? 10 : undefined
        },
      })
      const pace = { paceMs: 200, paceBytes: 1000 }
      await using store = await open({ endpoint: proxy.endpoint, pace, ahead: { piecesMax: 0 } })
      const { session, blob } = await storeSample({ ...subject, store }, sample)
      const read = (count: number) => {
        drips = count
        asked = 0
        return readAll(store.read(session.key, blob.tag, { expectedBytes }))
      }
      expect((await read(2)).equals(sample.bytes)).toBe(true)
      expect(asked).toBe(3)
      await expect(read(1000)).rejects.toMatchObject({
        code: 'store_unavailable',
        cause: expect.objectContaining({ message: expect.stringContaining('bytes came in') }),
      })
      expect(asked).toBe(5)
    },
  )

  it('gives up on a connection that always breaks at the same byte', async () => {
    const sample = sampleOf([makeBytes(10_000, 89)])
    let isBroken = false
    await using proxy = await openS3Proxy(getTestS3().endpoint, {
      cutAfter: (method) => (method === 'GET' && isBroken ? 0 : undefined),
    })
    await using store = await open({ endpoint: proxy.endpoint })
    const { session, blob } = await storeSample({ ...subject, store }, sample)
    isBroken = true
    await expect(readAll(store.read(session.key, blob.tag))).rejects.toMatchObject({
      code: 'store_unavailable',
    })
  })
})

describe('digest()', () => {
  /** A large sample, the digest that a thread finds over this proxy, and how far it said to be. */
  async function digestOver(
    seed: number,
    proxyOptions: Parameters<typeof openS3Proxy>[1],
    onStored: () => void,
    ahead?: Parameters<typeof open>[0]['ahead'],
  ) {
    const sample = makeSample(subject, seed)
    await using proxy = await openS3Proxy(getTestS3().endpoint, proxyOptions)
    const threads = { fromBytes: 0n, stretchMs: 0 }
    await using store = await open({ endpoint: proxy.endpoint, ahead, threads })
    const { session, blob } = await storeSample({ ...subject, store }, sample)
    onStored()
    const expectedBytes = BigInt(sample.bytes.length)
    const heard: bigint[] = []
    const onProgress = async (seen: bigint) => void heard.push(seen)
    const found = await store
      .digest(session.key, blob.tag, { expectedBytes, onProgress })
      .catch((error: unknown) => error)
    const expected = { sizeBytes: expectedBytes, sha256: sha256Of(sample.bytes) }
    return { found, heard, expected }
  }

  it('goes on where a connection broke, by a request that is signed anew', async () => {
    let cuts = 0
    const ranges: unknown[] = []
    const { found, heard, expected } = await digestOver(
      93,
      {
        onRequest: ({ method, headers: { range } }) =>
          void (method === 'GET' && ranges.push(range)),
        cutAfter: (method) => (method === 'GET' && ++cuts <= 2 ? 3_000_000 : undefined),
      },
      () => {
        cuts = 0
        ranges.length = 0
      },
    )
    expect(found).toEqual(expected)
    expect(heard).toEqual(heard.toSorted((one, other) => Number(one - other)))
    expect(ranges).toHaveLength(3)
    expect(ranges[0]).toBeUndefined()
    expect(ranges[2]).toMatch(/^bytes=[0-9]+-$/)
  })

  it('reads in pieces side by side what comes slowly', async () => {
    const ranges: unknown[] = []
    const { found, expected } = await digestOver(
      94,
      {
        onRequest: ({ method, headers: { range } }) =>
          void (method === 'GET' && ranges.push(range)),
        bytesPerSecond: ({ method }) => (method === 'GET' ? 4 * MIB : undefined),
      },
      () => {
        ranges.length = 0
      },
      { pieceBytes: MIB, piecesMax: 3, slowMs: 50 },
    )
    expect(found).toEqual(expected)
    expect(
      ranges.filter((range) => /^bytes=[0-9]+-[0-9]+$/.test(String(range))).length,
    ).toBeGreaterThan(3)
  })

  it('leaves to read() what is answered in another way', async () => {
    let isRefused = false
    const { found } = await digestOver(
      95,
      { changeStatus: (method, _path, status) => (isRefused && method === 'GET' ? 503 : status) },
      () => {
        isRefused = true
      },
    )
    expect(found).toBeUndefined()
  })

  it('names a store whose connections always break', async () => {
    let isBroken = false
    const { found } = await digestOver(
      96,
      { cutAfter: (method) => (isBroken && method === 'GET' ? 0 : undefined) },
      () => {
        isBroken = true
      },
    )
    expect(found).toMatchObject({ code: 'store_unavailable' })
  })
})
