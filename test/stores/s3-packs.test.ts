/** Packs of small blobs against a real gateway: what lies in the bucket, and what is left when something breaks off. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { ArtifactError } from '../../schemas/problems.ts'
import { createPackIndex } from '../../server/records/packs.ts'
import type { PackBook } from '../../server/stores/pack-census.ts'
import { parsePack } from '../../server/stores/pack-record.ts'
import { openS3Store, type S3Store } from '../../server/stores/s3.ts'
import { type BlobPlan, WHOLE_SESSION } from '../../server/stores/store.ts'
import { flipBit, newKey, readAll, send } from '../contract/subject.ts'
import { type Bucket, openBucket } from '../support/bucket.ts'
import { getTestS3 } from '../support/ceph.ts'
import { createTestDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/postgres-cluster.ts'
import { openS3Proxy, type S3Proxy } from '../support/s3-proxy.ts'

interface Put {
  plan: BlobPlan
  bytes: Buffer
}

const COUNT = 20
/** Longer than a late request can come. */
const LATE_SECONDS = 17 * 60

let database: TestDatabase
let proxy: S3Proxy
/** Method and path of every request through the proxy. */
let requests: string[]
let now: number
let bucket: Bucket
let prefix: string
let store: S3Store
let cleanUp: AsyncDisposableStack

const clock = () => new Date(now)

beforeAll(async () => {
  database = await createTestDatabase()
  proxy = await openS3Proxy(getTestS3().endpoint, {
    changeStatus(method, path, status) {
      requests.push(`${method} ${path}`)
      return status
    },
  })
})
afterAll(async () => {
  await proxy?.[Symbol.asyncDispose]()
  await database?.[Symbol.asyncDispose]()
})
beforeEach(async () => {
  requests = []
  now = Date.now()
  prefix = `test/${randomUUID()}`
  await database.admin`delete from artifact.packed_blob`
  await database.admin`delete from artifact.pack`
  cleanUp = new AsyncDisposableStack()
  bucket = cleanUp.use(openBucket(getTestS3(), prefix))
  store = cleanUp.use(await openStore())
  requests = []
  return () => cleanUp.disposeAsync()
})

/** A store as one server opens it; its index may break off somewhere. */
function openStore(broken: (index: PackBook) => Partial<PackBook> = () => ({})) {
  const { region, bucket: name, accessKeyId, secretAccessKey } = getTestS3()
  const index = createPackIndex(database.server, clock)
  return openS3Store({
    endpoint: proxy.endpoint,
    region,
    bucket: name,
    prefix,
    forcePathStyle: true,
    credentials: { accessKeyId, secretAccessKey },
    // Requests are signed as of the real time.
    clock: () => new Date(),
    packs: { ...index, ...broken(index) },
  })
}

function makePut(index: number): Put {
  const bytes = Buffer.from(`content ${index} of ${prefix}`)
  const sizeBytes = BigInt(bytes.length)
  const plan = { key: newKey(), sizeBytes, partSizeBytes: 65_536, contentType: 'text/plain' }
  return { plan, bytes }
}

const makePuts = (count = COUNT) => Array.from({ length: count }, (_, index) => makePut(index))

/** One of several. */
function pick<T>(list: readonly T[], index: number): T {
  const one = list[index]
  if (one === undefined) throw new RangeError(`There is no number ${index}`)
  return one
}

const putAll = (puts: readonly Put[], into = store) =>
  Promise.all(puts.map(({ plan, bytes }) => into.put(plan, bytes)))
const tagOf = async ({ plan }: Put) => (await store.stat(plan.key))?.tag ?? ''
const discard = ({ plan }: Put, from = store) => from.discard({ ...plan, session: WHOLE_SESSION })
const readOne = async (put: Put, from = store) => readAll(from.read(put.plan.key, await tagOf(put)))

const grantOf = ({ plan: { key, contentType } }: Put, tag: string) =>
  store.grantRead(key, tag, { fileName: 'x', contentType, ttlSeconds: 60, bound: true })

async function expectAll(puts: readonly Put[]): Promise<void> {
  const found = await Promise.all(puts.map((put) => readOne(put)))
  expect(found.map(String)).toEqual(puts.map(({ bytes }) => String(bytes)))
}

/** Keys of the packs in the bucket. */
const listPacks = async () => (await bucket.listKeys()).filter((key) => key.endsWith('.pack'))
const countNotes = async () => (await database.server`select id from artifact.pack`).length

/** Whether the bytes are anywhere in the bucket. */
async function isInBucket({ bytes }: Put): Promise<boolean> {
  for (const key of await bucket.listKeys())
    if (Buffer.from(await bucket.read(key)).includes(bytes)) return true
  return false
}

async function tidy(from = store): Promise<void> {
  await from.tidy((subject, error) => {
    throw new Error(`Cannot tidy ${subject}`, { cause: error })
  })
}

const outage = new ArtifactError('store_unavailable', 'Cannot go on: it broke off')
const breakOff = () => Promise.reject(outage)

describe('blobs that come together', () => {
  it('are one PUT and one GET, and an object that tells them apart by itself', async () => {
    const puts = makePuts()
    await putAll(puts)
    expect(requests).toEqual([expect.stringMatching(/^PUT .*\.pack$/)])
    const tags = await Promise.all(puts.map(tagOf))
    requests = []
    const read = puts.map(({ plan }, index) => readAll(store.read(plan.key, pick(tags, index))))
    await Promise.all(read)
    expect(requests).toEqual([expect.stringMatching(/^GET .*\.pack$/)])
    const [pack = ''] = await bucket.listKeys()
    const records = [...parsePack(Buffer.from(await bucket.read(pack)))]
    expect(records).toEqual(puts.map(({ plan, bytes }) => ({ key: plan.key, bytes })))
  })

  it('go alone when they are few', async () => {
    const puts = makePuts(3)
    await putAll(puts)
    expect(await listPacks()).toEqual([])
    await expectAll(puts)
  })

  it('go into several packs when they are large', async () => {
    const puts = makePuts(70).map(({ plan }, index) => ({
      plan: { ...plan, sizeBytes: 65_536n },
      bytes: Buffer.alloc(65_536, index),
    }))
    await putAll(puts)
    expect(await listPacks()).toHaveLength(2)
    const tags = await Promise.all(puts.map(tagOf))
    const found = await Promise.all(
      puts.map(({ plan }, index) => readAll(store.read(plan.key, pick(tags, index)))),
    )
    expect(found.every((bytes, index) => bytes.equals(pick(puts, index).bytes))).toBe(true)
  })

  it('keep their places when another server puts the same again', async () => {
    const puts = makePuts()
    const before = await putAll(puts)
    // It looked before the first one had placed them.
    await using other = await openStore(() => ({ find: async () => [] }))
    expect(await putAll(puts, other)).toEqual(before)
    expect(await listPacks()).toHaveLength(2)
    await tidy()
    expect(await listPacks()).toHaveLength(1)
    expect(await countNotes()).toBe(1)
    await expectAll(puts)
  })
})

describe('a blob that is wanted singly', () => {
  it('gets an object of its own, once', async () => {
    const puts = makePuts()
    await putAll(puts)
    const one = pick(puts, 5)
    const tag = await tagOf(one)
    for (const grant of await Promise.all([grantOf(one, tag), grantOf(one, tag)])) {
      expect(grant.url).not.toContain('.pack')
      expect((await send({ origin: proxy.endpoint }, grant)).body.equals(one.bytes)).toBe(true)
    }
    requests = []
    await grantOf(one, tag)
    expect(requests).toEqual([expect.stringMatching(/^HEAD .*\/blobs\//)])
    expect(await bucket.listKeys()).toHaveLength(2)
  })

  it.each([
    ['lost', (key: string) => bucket.remove(key)],
    ['another one', (key: string) => bucket.write(key, Buffer.from('another one'))],
  ])('gets it again when it is %s', async (_, damage) => {
    const puts = makePuts()
    await putAll(puts)
    const one = pick(puts, 5)
    const tag = await tagOf(one)
    await grantOf(one, tag)
    await damage(`${prefix}/${one.plan.key}`)
    const [grant] = await Promise.all([grantOf(one, tag), grantOf(one, tag)])
    expect((await send({ origin: proxy.endpoint }, grant)).body.equals(one.bytes)).toBe(true)
    await discard(one)
    expect(await isInBucket(one)).toBe(false)
  })

  it.each([
    ['is another one', () => Buffer.from('another one')],
    ['is another one of its size', ({ bytes }: Put) => Buffer.alloc(bytes.length, 'x')],
    ['was left by a crash', ({ bytes }: Put) => bytes],
  ])('gets it also where an object that nobody noted %s', async (_, contentOf) => {
    const puts = makePuts()
    await putAll(puts)
    const one = pick(puts, 5)
    await bucket.write(`${prefix}/${one.plan.key}`, contentOf(one))
    const grant = await grantOf(one, await tagOf(one))
    expect((await send({ origin: proxy.endpoint }, grant)).body.equals(one.bytes)).toBe(true)
    expect(await bucket.listKeys()).toHaveLength(2)
  })

  it('is refused when its bytes in the pack changed, and alone', async () => {
    const puts = makePuts()
    await putAll(puts)
    const [pack = ''] = await listPacks()
    const [one, neighbour] = [pick(puts, 5), pick(puts, 6)]
    const bytes = Buffer.from(await bucket.read(pack))
    await bucket.write(pack, flipBit(bytes, bytes.indexOf(one.bytes)))
    const refusal = { code: 'precondition_failed' }
    await expect(grantOf(one, await tagOf(one))).rejects.toMatchObject(refusal)
    const grant = await grantOf(neighbour, await tagOf(neighbour))
    expect((await send({ origin: proxy.endpoint }, grant)).body.equals(neighbour.bytes)).toBe(true)
  })

  it('leaves no object when it is removed at that moment', async () => {
    const puts = makePuts()
    await putAll(puts)
    const one = pick(puts, 5)
    const tag = await tagOf(one)
    await using other = await openStore((index) => ({
      async keepOwn(key, ownTag) {
        await discard(one)
        return index.keepOwn(key, ownTag)
      },
    }))
    const { key, contentType } = one.plan
    const options = { fileName: 'x', contentType, ttlSeconds: 60, bound: true }
    const refusal = { code: 'blob_missing' }
    await expect(other.grantRead(key, tag, options)).rejects.toMatchObject(refusal)
    expect(await isInBucket(one)).toBe(false)
  })
})

describe('a blob that is removed', () => {
  it('is gone from the bucket, with the object of its own, and its neighbours stay', async () => {
    const puts = makePuts()
    await putAll(puts)
    const [gone, ...rest] = puts
    if (gone === undefined) throw new Error('Nothing was put')
    await grantOf(gone, await tagOf(gone))
    await discard(gone)
    expect(await isInBucket(gone)).toBe(false)
    await expectAll(rest)
    expect(await bucket.listKeys()).toHaveLength(1)
  })

  it('takes the pack with it when it was the last one', async () => {
    const puts = makePuts(4)
    await putAll(puts)
    for (const put of puts) await discard(put)
    expect(await bucket.listKeys()).toEqual([])
    expect(await countNotes()).toBe(0)
  })

  it('is gone when several servers remove at once, and what they leave is there', async () => {
    const puts = makePuts()
    await putAll(puts)
    await using other = await openStore()
    const [kept, ...gone] = puts
    if (kept === undefined) throw new Error('Nothing was put')
    requests = []
    await Promise.all(gone.map((put, index) => discard(put, index % 2 === 0 ? store : other)))
    // Whoever comes while a pack is rewritten waits for the next one, together with the others.
    const rewritten = requests.filter((each) => /^PUT .*\.pack$/.test(each))
    expect(rewritten.length).toBeLessThan(gone.length / 2)
    await Promise.all([tidy(), tidy(other)])
    await expectAll([kept])
    for (const put of gone) expect(await isInBucket(put)).toBe(false)
    expect(await listPacks()).toHaveLength(1)
    expect(await countNotes()).toBe(1)
  })

  it('is no hindrance to who reads a neighbour at that moment', async () => {
    const puts = makePuts()
    await putAll(puts)
    const [gone, neighbour] = [pick(puts, 0), pick(puts, 1)]
    let isDue = true
    await using other = await openStore((index) => ({
      async find(keys) {
        const places = await index.find(keys)
        if (isDue) await discard(gone)
        isDue = false
        return places
      },
    }))
    const tag = await tagOf(neighbour)
    const found = await readAll(other.read(neighbour.plan.key, tag))
    expect(found.equals(neighbour.bytes)).toBe(true)
  })
})

describe('a pack that breaks off', () => {
  it('before it is put leaves nothing but a note, for a while', async () => {
    const puts = makePuts()
    await using broken = await openStore((index) => ({
      async announce(pack) {
        await index.announce(pack)
        throw outage
      },
    }))
    await expect(putAll(puts, broken)).rejects.toMatchObject({ code: outage.code })
    expect(await bucket.listKeys()).toEqual([])
    expect(await store.stat(pick(puts, 0).plan.key)).toBeUndefined()
    expect(await countNotes()).toBe(1)
    now += LATE_SECONDS * 1000
    await tidy()
    expect(await countNotes()).toBe(0)
    await putAll(puts)
    await expectAll(puts)
  })

  it('once it is put is no pack yet, and removed when no request can be late any more', async () => {
    const puts = makePuts()
    await using broken = await openStore(() => ({ place: breakOff }))
    await expect(putAll(puts, broken)).rejects.toMatchObject({ code: outage.code })
    expect(await listPacks()).toHaveLength(1)
    expect(await store.stat(pick(puts, 0).plan.key)).toBeUndefined()
    await putAll(puts)
    await tidy()
    expect(await listPacks()).toHaveLength(2)
    now += LATE_SECONDS * 1000
    await tidy()
    expect(await listPacks()).toHaveLength(1)
    await expectAll(puts)
  })

  it('is not placed once it was given up', async () => {
    const puts = makePuts()
    await using slow = await openStore((index) => ({
      async place(pack, slices) {
        now += LATE_SECONDS * 1000
        await tidy()
        return index.place(pack, slices)
      },
    }))
    await expect(putAll(puts, slow)).rejects.toMatchObject({ code: 'store_unavailable' })
    expect(await bucket.listKeys()).toEqual([])
    expect(await store.stat(pick(puts, 0).plan.key)).toBeUndefined()
  })

  it.each([
    ['before its blobs are moved', () => ({ move: breakOff })],
    [
      'once its blobs are moved',
      (index: PackBook) => ({
        async move(...words: Parameters<PackBook['move']>) {
          await index.move(...words)
          throw outage
        },
      }),
    ],
    ['before its note is dropped', () => ({ drop: breakOff })],
  ])('while it is rewritten, %s, is finished by the sweep', async (_, broken) => {
    const puts = makePuts()
    await putAll(puts)
    const [gone, ...rest] = puts
    if (gone === undefined) throw new Error('Nothing was put')
    await using other = await openStore(broken)
    await expect(discard(gone, other)).rejects.toMatchObject({ code: outage.code })
    await expectAll(rest)
    now += LATE_SECONDS * 1000
    await tidy()
    await tidy()
    expect(await isInBucket(gone)).toBe(false)
    expect(await listPacks()).toHaveLength(1)
    expect(await countNotes()).toBe(1)
    await expectAll(rest)
  })
})
