/** The index of packs is made again from the packs, against a real gateway: what comes back, and what does not. */
import { randomUUID } from 'node:crypto'
import { beforeEach, describe, expect, it } from 'vitest'
import { ArtifactError } from '../../schemas/problems.ts'
import { insertArtifacts, type NewArtifact } from '../../server/records/artifacts.ts'
import { createPackIndex } from '../../server/records/packs.ts'
import type { PackBook } from '../../server/stores/pack-census.ts'
import { PACK_BYTES_MAX } from '../../server/stores/pack-examination.ts'
import { formatPackedTag, formatPackKey } from '../../server/stores/pack-index.ts'
import { formatPack } from '../../server/stores/pack-record.ts'
import { openS3Store, type S3Store } from '../../server/stores/s3.ts'
import { type BlobPlan, WHOLE_SESSION } from '../../server/stores/store.ts'
import { flipBit, newKey, readAll, sha256Of } from '../contract/subject.ts'
import { type Bucket, openBucket } from '../support/bucket.ts'
import { getTestS3 } from '../support/ceph.ts'
import { createTestDatabase } from '../support/database.ts'
import { PLANTED_TOKEN } from '../support/planted-records.ts'
import type { TestDatabase } from '../support/postgres-cluster.ts'

interface Put {
  plan: BlobPlan
  bytes: Buffer
}

const COUNT = 12
/** Longer than a late request can come. */
const LATE_SECONDS = 17 * 60

let database: TestDatabase
let bucket: Bucket
let prefix: string
let store: S3Store
let now: number

const clock = () => new Date(now)

beforeEach(async () => {
  const cleanUp = new AsyncDisposableStack()
  database = cleanUp.use(await createTestDatabase())
  now = Date.now()
  prefix = `test/${randomUUID()}`
  bucket = cleanUp.use(openBucket(getTestS3(), prefix))
  store = cleanUp.use(await openStore())
  return () => cleanUp.disposeAsync()
})

/** A store as one server opens it; its index may do something else besides. */
function openStore(change: (book: PackBook) => Partial<PackBook> = () => ({}), below = prefix) {
  const { endpoint, region, bucket: name, accessKeyId, secretAccessKey } = getTestS3()
  const book = createPackIndex(database.server, clock)
  return openS3Store({
    ...{ endpoint, region, bucket: name, prefix: below, forcePathStyle: true },
    credentials: { accessKeyId, secretAccessKey },
    // Requests are signed as of the real time.
    clock: () => new Date(),
    packs: { ...book, ...change(book) },
  })
}

function makePuts(count = COUNT): Put[] {
  return Array.from({ length: count }, (_, index) => {
    const key = newKey()
    const bytes = Buffer.from(`content ${index} of ${key}`)
    const sizeBytes = BigInt(bytes.length)
    return { plan: { key, sizeBytes, partSizeBytes: 65_536, contentType: 'text/plain' }, bytes }
  })
}

/** Stores blobs in a pack of their own, and returns its key. */
async function putPack(puts: readonly Put[]): Promise<string> {
  const before = await bucket.listKeys()
  await Promise.all(puts.map(({ plan, bytes }) => store.put(plan, bytes)))
  const [pack = ''] = (await bucket.listKeys()).filter((key) => !before.includes(key))
  return pack
}

const uploadIdOf = ({ plan }: Put) => plan.key.split('/').at(-1) ?? ''
const nameOf = (put: Put) => `file-${uploadIdOf(put)}`
const referenceOf = (put: Put) => `packed/0/${nameOf(put)}`
const tagOf = ({ bytes }: Put) => formatPackedTag(sha256Of(bytes))

/** Makes the records, as if the blobs had been sealed. */
async function seal(puts: readonly Put[]): Promise<void> {
  const { admin } = database
  await admin`insert into artifact.task (task) values ('packed') on conflict do nothing`
  await admin`insert into artifact.run (task, run) values ('packed', 0) on conflict do nothing`
  const artifacts = puts.map((put): NewArtifact => {
    const sha256 = sha256Of(put.bytes)
    return {
      ...{ task: 'packed', run: 0, name: nameOf(put), sha256, labels: {}, policy: 'reread' },
      sizeBytes: BigInt(put.bytes.length),
      partSizeBytes: 65_536,
      parts: [{ number: 1, sizeBytes: put.bytes.length, sha256 }],
      contentType: put.plan.contentType,
      store: 's3',
      blobKey: put.plan.key,
      blobTag: tagOf(put),
      uploadId: uploadIdOf(put),
      openedAt: clock(),
      tokenId: PLANTED_TOKEN,
      tokenName: 'nightly',
    }
  })
  await insertArtifacts(admin, artifacts, clock())
}

/** Says in the log that the bytes were removed; the store is not told. */
async function sayRemoved(put: Put): Promise<void> {
  const leaf = Buffer.from(`${referenceOf(put)} was removed`)
  await database.admin`
    insert into artifact.log_leaf (idx, kind, task, run, name, leaf, leaf_hash)
    select coalesce(max(idx), -1) + 1, 'remove', 'packed', 0, ${nameOf(put)}, ${leaf},
      sha256('\\x00'::bytea || ${leaf}::bytea)
    from artifact.log_leaf`
}

const discard = ({ plan }: Put) => store.discard({ ...plan, session: WHOLE_SESSION })

async function remove(put: Put): Promise<void> {
  await sayRemoved(put)
  await discard(put)
}

/** Takes the notes as they are, and returns what puts them back. */
async function backUpIndex(): Promise<() => Promise<void>> {
  const { admin } = database
  const packs = await admin`select * from artifact.pack`
  const blobs = await admin`select * from artifact.packed_blob`
  return async () => {
    await forgetIndex()
    if (packs.length > 0) await admin`insert into artifact.pack ${admin(packs)}`
    if (blobs.length > 0) await admin`insert into artifact.packed_blob ${admin(blobs)}`
  }
}

async function forgetIndex(): Promise<void> {
  await database.admin`delete from artifact.packed_blob`
  await database.admin`delete from artifact.pack`
}

const rebuild = (from = store, dryRun = false) => from.rebuildIndex({ dryRun })
const readOne = async (put: Put) => String(await readAll(store.read(put.plan.key, tagOf(put))))

async function expectAll(puts: readonly Put[]): Promise<void> {
  expect(await Promise.all(puts.map(readOne))).toEqual(puts.map(({ bytes }) => String(bytes)))
}

async function expectNone(puts: readonly Put[]): Promise<void> {
  for (const put of puts) await expect(readOne(put)).rejects.toMatchObject({ code: 'blob_missing' })
}

async function isInBucket({ bytes }: Put): Promise<boolean> {
  for (const key of await bucket.listKeys())
    if (Buffer.from(await bucket.read(key)).includes(bytes)) return true
  return false
}

async function tidy(): Promise<void> {
  now += LATE_SECONDS * 1000
  await store.tidy((subject, error) => {
    throw new Error(`Cannot tidy ${subject}`, { cause: error })
  })
}

const countNotes = async () => (await database.server`select id from artifact.pack`).length
/** Puts a pack beside those that the store made. */
async function plantPack(pack: Uint8Array, id: string = randomUUID()): Promise<string> {
  const key = `${prefix}/${formatPackKey(id)}`
  await bucket.write(key, pack)
  return key
}
const ofPrefix = (key: string) => key.slice(prefix.length + 1)

describe('an index that is older than the bucket', () => {
  it('learns where neighbours of what was removed lie, and of packs that came later', async () => {
    const puts = makePuts()
    await putPack(puts)
    await seal(puts)
    const restore = await backUpIndex()
    const [gone, ...rest] = puts
    if (gone === undefined) throw new Error('Nothing was put')
    await remove(gone)
    const later = makePuts()
    await putPack(later)
    await seal(later)
    await restore()
    await expectNone([...rest, ...later])
    await expect(readOne(later[0] ?? gone)).rejects.toMatchObject({
      expected: expect.stringContaining('artifact packs rebuild'),
    })
    const expected = { packs: 2, added: 12, moved: 11, dropped: 1, unrecorded: 0, busy: 0 }
    const nothing = { lost: { count: 0 }, faults: { count: 0 } }
    expect(await rebuild(store, true)).toMatchObject({ ...expected, ...nothing })
    await expectNone([...rest, ...later])
    expect(await rebuild()).toMatchObject({ ...expected, ...nothing })
    await expectAll([...rest, ...later])
    await expectNone([gone])
    expect(await isInBucket(gone)).toBe(false)
    expect(await rebuild()).toMatchObject({ packs: 2, added: 0, moved: 0, dropped: 0, ...nothing })
    await tidy()
    expect(await countNotes()).toBe(2)
    await expectAll([...rest, ...later])
  })

  it('that knows of a pack only that it was to come loses nothing to the sweep', async () => {
    const puts = makePuts()
    const pack = await putPack(puts)
    await seal(puts)
    await forgetIndex()
    const id = pack.split('/').at(-1)?.replace('.pack', '') ?? ''
    await createPackIndex(database.server, clock).announce(id)
    expect(await rebuild()).toMatchObject({ busy: 1, added: 0, lost: { count: 12 } })
    await expectNone(puts)
    await tidy()
    await expectAll(puts)
    await tidy()
    await expectAll(puts)
    expect(await countNotes()).toBe(1)
  })

  it('says what the bucket has lost too', async () => {
    const [kept, lost] = [makePuts(), makePuts()]
    await putPack(kept)
    const pack = await putPack(lost)
    await seal([...kept, ...lost])
    await bucket.remove(pack)
    for (const isDry of [true, false]) {
      const report = await rebuild(store, isDry)
      expect(report).toMatchObject({ dropped: 12, lost: { count: 12 } })
      expect(report.lost.references.toSorted()).toEqual(lost.map(referenceOf).toSorted())
    }
    await expectAll(kept)
    await tidy()
    expect(await countNotes()).toBe(1)
  })
})

describe('an index that is lost', () => {
  it('comes back whole, and what is removed then is removed', async () => {
    const puts = makePuts()
    await putPack(puts)
    await seal(puts)
    await forgetIndex()
    expect(await rebuild()).toMatchObject({ packs: 1, records: 12, added: 12, dropped: 0 })
    await expectAll(puts)
    const [gone, ...rest] = puts
    if (gone === undefined) throw new Error('Nothing was put')
    await remove(gone)
    expect(await isInBucket(gone)).toBe(false)
    await expectAll(rest)
  })

  it('does not bring back what the log says was removed, whose bytes go with the next sweep', async () => {
    const puts = makePuts()
    await putPack(puts)
    await seal(puts)
    const [gone, ...rest] = puts
    if (gone === undefined) throw new Error('Nothing was put')
    await sayRemoved(gone)
    await forgetIndex()
    expect(await rebuild()).toMatchObject({ added: 11, lost: { count: 0 } })
    await expectNone([gone])
    await tidy()
    expect(await isInBucket(gone)).toBe(false)
    await expectAll(rest)
  })

  it('forgets a place that it has of what was removed', async () => {
    const puts = makePuts()
    await putPack(puts)
    await seal(puts)
    const [gone, ...rest] = puts
    if (gone === undefined) throw new Error('Nothing was put')
    await sayRemoved(gone)
    expect(await rebuild()).toMatchObject({ added: 0, dropped: 1 })
    await tidy()
    expect(await isInBucket(gone)).toBe(false)
    await expectAll(rest)
  })

  it('keeps blobs of which there is no record: an older database may be followed by a newer', async () => {
    const puts = makePuts()
    await putPack(puts)
    await forgetIndex()
    expect(await rebuild()).toMatchObject({ added: 12, unrecorded: 12, lost: { count: 0 } })
    await tidy()
    await seal(puts)
    await expectAll(puts)
  })

  it('gives one place to a blob that two packs have, and lets the other pack go', async () => {
    const puts = makePuts()
    const pack = await putPack(puts)
    await seal(puts)
    await plantPack(await bucket.read(pack))
    await forgetIndex()
    expect(await rebuild()).toMatchObject({ packs: 2, added: 12 })
    await expectAll(puts)
    await tidy()
    expect(await bucket.listKeys()).toHaveLength(1)
    await expectAll(puts)
  })
})

describe('packs that are not as they were put', () => {
  it('are named when bytes differ, which are still refused, and neighbours come', async () => {
    const puts = makePuts()
    const pack = await putPack(puts)
    await seal(puts)
    const [changed, ...rest] = puts
    if (changed === undefined) throw new Error('Nothing was put')
    const whole = Buffer.from(await bucket.read(pack))
    await bucket.write(pack, flipBit(whole, whole.indexOf(changed.bytes)))
    await forgetIndex()
    const report = await rebuild()
    const reference = referenceOf(changed)
    const fault = { object: ofPrefix(pack), kind: 'changed', key: changed.plan.key, reference }
    expect(report).toMatchObject({ added: 12, faults: { count: 1, list: [fault] } })
    await expectAll(rest)
    expect(await readOne(changed)).not.toBe(String(changed.bytes))
    // A whole copy in another pack takes its place.
    await plantPack(whole)
    expect(await rebuild()).toMatchObject({ moved: 1, added: 0, lost: { count: 0 } })
    await expectAll(puts)
  })

  it('are named when they are cut, and what is whole comes', async () => {
    const puts = makePuts()
    const pack = await putPack(puts)
    await seal(puts)
    const whole = await bucket.read(pack)
    await bucket.write(pack, whole.subarray(0, whole.length / 2))
    await forgetIndex()
    const report = await rebuild()
    const [fault] = report.faults.list
    expect(fault).toMatchObject({ object: ofPrefix(pack), kind: 'cut' })
    expect(report.added).toBeGreaterThan(3)
    expect(report.lost.count).toBe(12 - report.added)
    const isLost = (put: Put) => report.lost.references.includes(referenceOf(put))
    await expectAll(puts.filter((put) => !isLost(put)))
    await expectNone(puts.filter(isLost))
  })

  it('are believed no further than the record wants their bytes', async () => {
    const [one, ...others] = makePuts()
    if (one === undefined) throw new Error('Nothing was made')
    await seal([one, ...others])
    const forged = Buffer.from('forged')
    const pack = await plantPack(formatPack([{ key: one.plan.key, bytes: forged }]).pack)
    const report = await rebuild()
    expect(report).toMatchObject({ added: 0, lost: { count: 12 } })
    expect(report.faults.list).toEqual([
      {
        ...{ object: ofPrefix(pack), kind: 'other', key: one.plan.key },
        ...{ reference: referenceOf(one), expected: sha256Of(one.bytes), found: sha256Of(forged) },
      },
    ])
    expect(await countNotes()).toBe(0)
    expect(await bucket.listKeys()).toEqual([pack])
  })

  it('are named and left alone when they are none', async () => {
    const puts = makePuts()
    const pack = await putPack(puts)
    await seal(puts)
    const foreign = [
      `${prefix}/packs/readme.txt`,
      `${prefix}/packs/00/ffffffff-ffff-4fff-8fff-ffffffffffff.pack`,
    ]
    for (const key of foreign) await bucket.write(key, Buffer.from('hello'))
    const garbage = await plantPack(Buffer.from('no record at all'))
    const large = await plantPack(Buffer.alloc(PACK_BYTES_MAX + 1))
    await forgetIndex()
    const report = await rebuild()
    expect(report).toMatchObject({ added: 12, faults: { count: 4 } })
    expect(report.faults.list.map(({ object, kind }) => `${kind} ${object}`).toSorted()).toEqual(
      [
        ...[...foreign, garbage].map((key) => `foreign ${ofPrefix(key)}`),
        `too-large ${ofPrefix(large)}`,
      ].toSorted(),
    )
    await tidy()
    const keys = await bucket.listKeys()
    expect(keys.toSorted()).toEqual([pack, ...foreign, garbage, large].toSorted())
  })

  it('are found on every page of the list', async () => {
    const puts = makePuts()
    await putPack(puts)
    await seal(puts)
    await forgetIndex()
    const names = Array.from({ length: 1010 }, (_, index) => `${prefix}/packs/${index}`)
    for (let at = 0; at < names.length; at += 50)
      await Promise.all(names.slice(at, at + 50).map((key) => bucket.write(key, Buffer.alloc(1))))
    const report = await rebuild()
    expect(report).toMatchObject({ added: 12, faults: { count: 1010 } })
    expect(report.faults.list).toHaveLength(200)
  })
})

describe('a rebuild that is not alone', () => {
  it('gives no place to what is removed at that moment', async () => {
    const puts = makePuts()
    await putPack(puts)
    await seal(puts)
    await forgetIndex()
    const [gone, ...rest] = puts
    if (gone === undefined) throw new Error('Nothing was put')
    await using other = await openStore(({ census }) => ({
      census: {
        ...census,
        async adopt(pack, adoption) {
          await remove(gone)
          return census.adopt(pack, adoption)
        },
      },
    }))
    await rebuild(other)
    await expectNone([gone])
    await tidy()
    expect(await isInBucket(gone)).toBe(false)
    await expectAll(rest)
  })

  it('keeps the place that a server has given meanwhile', async () => {
    const puts = makePuts()
    await putPack(puts)
    await seal(puts)
    await forgetIndex()
    let isFirst = true
    await using other = await openStore(({ census }) => ({
      census: {
        ...census,
        async adopt(pack, adoption) {
          if (isFirst) {
            isFirst = false
            await rebuild()
            const [gone] = puts
            if (gone !== undefined) await remove(gone)
          }
          return census.adopt(pack, adoption)
        },
      },
    }))
    await rebuild(other)
    await tidy()
    await expectAll(puts.slice(1))
    expect(await bucket.listKeys()).toHaveLength(1)
  })

  it('meets another one, uploads and removals, and all of them come out right', async () => {
    const puts = Array.from({ length: 4 }, () => makePuts())
    for (const some of puts) await putPack(some)
    await seal(puts.flat())
    const restore = await backUpIndex()
    const gone = puts.flatMap(([first]) => first ?? [])
    for (const put of gone) await remove(put)
    await restore()
    await using other = await openStore()
    const later = makePuts()
    const removed = puts.flatMap(([, second]) => second ?? [])
    const [, , stored] = await Promise.all([
      rebuild(),
      rebuild(other),
      Promise.all(later.map(({ plan, bytes }) => other.put(plan, bytes))).then(() => seal(later)),
      // One after the other, as the log says them.
      removed.reduce((before, put) => before.then(() => remove(put)), Promise.resolve()),
    ])
    expect(stored).toBeUndefined()
    expect(await rebuild()).toMatchObject({ lost: { count: 0 }, faults: { count: 0 } })
    await tidy()
    await tidy()
    for (const put of [...gone, ...removed]) expect(await isInBucket(put)).toBe(false)
    await expectNone([...gone, ...removed])
    await expectAll([...puts.flatMap((some) => some.slice(2)), ...later])
  })

  it('changes nothing when it looks into another bucket, and ends when it is told to', async () => {
    const puts = makePuts()
    await putPack(puts)
    await seal(puts)
    await using elsewhere = await openStore(undefined, `${prefix}/elsewhere`)
    await expect(rebuild(elsewhere)).rejects.toMatchObject({ code: 'configuration' })
    const stopped = new ArtifactError('interrupted', 'Cannot go on: it was told to stop')
    const signal = AbortSignal.abort(stopped)
    await expect(store.rebuildIndex({ dryRun: false, signal })).rejects.toBe(stopped)
    await expectAll(puts)
  })
})
