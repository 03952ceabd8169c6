/** A store with packs over a real bucket, an index of its own, and records as if its blobs had been sealed. */
import { randomUUID } from 'node:crypto'
import { expect } from 'vitest'
import { insertArtifacts, type NewArtifact } from '../../server/records/artifacts.ts'
import { createPackIndex } from '../../server/records/packs.ts'
import type { PackBook } from '../../server/stores/pack-census.ts'
import { formatPackedTag } from '../../server/stores/pack-index.ts'
import { openS3Store, type S3Store } from '../../server/stores/s3.ts'
import { type BlobPlan, WHOLE_SESSION } from '../../server/stores/store.ts'
import { newKey, readAll, sha256Of } from '../contract/subject.ts'
import { type Bucket, openBucket } from './bucket.ts'
import { getTestS3 } from './ceph.ts'
import { createTestDatabase } from './database.ts'
import { PLANTED_TOKEN } from './planted-records.ts'
import type { TestDatabase } from './postgres-cluster.ts'

export interface Put {
  plan: BlobPlan
  bytes: Buffer
}

/** Blobs that {@link makePuts} makes unless told otherwise. */
export const PUT_COUNT = 12
/** Longer than a late request can come. */
const LATE_SECONDS = 17 * 60

export interface PackedStore extends AsyncDisposable {
  readonly database: TestDatabase
  readonly bucket: Bucket
  /** Before every key. */
  readonly prefix: string
  readonly store: S3Store
  /** A store as another server opens it; its index may do something else besides. */
  openStore(change?: (book: PackBook) => Partial<PackBook>, below?: string): Promise<S3Store>
  /** The index, as of the same time. */
  readonly book: PackBook
  /** Stores blobs in a pack of their own, and returns its key. */
  putPack(puts: readonly Put[]): Promise<string>
  /** Makes the records. */
  seal(puts: readonly Put[]): Promise<void>
  /** Says in the log that the bytes were removed; the store is not told. */
  sayRemoved(put: Put): Promise<void>
  discard(put: Put): Promise<void>
  /** Both, as a server does it. */
  remove(put: Put): Promise<void>
  /** Takes the notes as they are, and returns what puts them back. */
  backUpIndex(): Promise<() => Promise<void>>
  forgetIndex(): Promise<void>
  countNotes(): Promise<number>
  listPacks(): Promise<string[]>
  /** Whether the bytes are anywhere in the bucket. */
  isInBucket(put: Put): Promise<boolean>
  readOne(put: Put): Promise<string>
  expectAll(puts: readonly Put[]): Promise<void>
  expectNone(puts: readonly Put[]): Promise<void>
  passSeconds(seconds: number): void
  /** A sweep that meets no fault, when no request can be late any more. */
  tidyLater(): Promise<void>
}

export const tagOf = ({ bytes }: Put) => formatPackedTag(sha256Of(bytes))
export const referenceOf = (put: Put) => `packed/0/${nameOf(put)}`

const nameOf = (put: Put) => `file-${uploadIdOf(put)}`
const uploadIdOf = ({ plan }: Put) => plan.key.split('/').at(-1) ?? ''

export function makePuts(count = PUT_COUNT): Put[] {
  return Array.from({ length: count }, (_, index) => {
    const key = newKey()
    const bytes = Buffer.from(`content ${index} of ${key}`)
    const sizeBytes = BigInt(bytes.length)
    return { plan: { key, sizeBytes, partSizeBytes: 65_536, contentType: 'text/plain' }, bytes }
  })
}

/** One of several. */
export function pick<T>(list: readonly T[], index: number): T {
  const one = list[index]
  if (one === undefined) throw new RangeError(`There is no number ${index}`)
  return one
}

/** Opens all of it below a fresh prefix. */
export async function openPackedStore(): Promise<PackedStore> {
  await using stack = new AsyncDisposableStack()
  const database = stack.use(await createTestDatabase())
  const { admin } = database
  let now = Date.now()
  const clock = () => new Date(now)
  const prefix = `test/${randomUUID()}`
  const bucket = stack.use(openBucket(getTestS3(), prefix))
  const book = createPackIndex(database.server, clock)
  const openStore: PackedStore['openStore'] = (change = () => ({}), below = prefix) => {
    const { endpoint, region, bucket: name, accessKeyId, secretAccessKey } = getTestS3()
    return openS3Store({
      ...{ endpoint, region, bucket: name, prefix: below, forcePathStyle: true },
      credentials: { accessKeyId, secretAccessKey },
      // Requests are signed as of the real time.
      clock: () => new Date(),
      packs: { ...book, ...change(book) },
    })
  }
  const store = stack.use(await openStore())
  const readOne = async (put: Put) => String(await readAll(store.read(put.plan.key, tagOf(put))))
  const discard = ({ plan }: Put) => store.discard({ ...plan, session: WHOLE_SESSION })
  const sayRemoved = async (put: Put) => {
    const leaf = Buffer.from(`${referenceOf(put)} was removed`)
    await admin`
      insert into artifact.log_leaf (idx, kind, task, run, name, leaf, leaf_hash)
      select coalesce(max(idx), -1) + 1, 'remove', 'packed', 0, ${nameOf(put)}, ${leaf},
        sha256('\\x00'::bytea || ${leaf}::bytea)
      from artifact.log_leaf`
  }
  const forgetIndex = async () => {
    await admin`delete from artifact.packed_blob`
    await admin`delete from artifact.pack`
  }
  const held = stack.move()
  return {
    ...{
      database,
      bucket,
      prefix,
      store,
      openStore,
      book,
      readOne,
      discard,
      sayRemoved,
      forgetIndex,
    },
    async putPack(puts) {
      const before = await bucket.listKeys()
      await Promise.all(puts.map(({ plan, bytes }) => store.put(plan, bytes)))
      const [pack = ''] = (await bucket.listKeys()).filter((key) => !before.includes(key))
      return pack
    },
    async seal(puts) {
      await admin`insert into artifact.task (task) values ('packed') on conflict do nothing`
      await admin`insert into artifact.run (task, run) values ('packed', 0) on conflict do nothing`
      await insertArtifacts(
        admin,
        puts.map((put) => describe(put, clock())),
        clock(),
      )
    },
    async remove(put) {
      await sayRemoved(put)
      await discard(put)
    },
    async backUpIndex() {
      const packs = await admin`select * from artifact.pack`
      const blobs = await admin`select * from artifact.packed_blob`
      return async () => {
        await forgetIndex()
        if (packs.length > 0) await admin`insert into artifact.pack ${admin(packs)}`
        if (blobs.length > 0) await admin`insert into artifact.packed_blob ${admin(blobs)}`
      }
    },
    countNotes: async () => (await admin`select from artifact.pack`).length,
    listPacks: async () => (await bucket.listKeys()).filter((key) => key.endsWith('.pack')),
    async isInBucket({ bytes }) {
      for (const key of await bucket.listKeys())
        if (Buffer.from(await bucket.read(key)).includes(bytes)) return true
      return false
    },
    async expectAll(puts) {
      const found = await Promise.all(puts.map(readOne))
      expect(found).toEqual(puts.map(({ bytes }) => String(bytes)))
    },
    async expectNone(puts) {
      for (const put of puts)
        await expect(readOne(put)).rejects.toMatchObject({ code: 'blob_missing' })
    },
    passSeconds(seconds) {
      now += seconds * 1000
    },
    async tidyLater() {
      now += LATE_SECONDS * 1000
      await store.tidy((subject, error) => {
        throw new Error(`Cannot tidy ${subject}`, { cause: error })
      })
    },
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  }
}

function describe(put: Put, openedAt: Date): NewArtifact {
  const sha256 = sha256Of(put.bytes)
  const { length } = put.bytes
  return {
    ...{
      task: 'packed',
      run: 0,
      name: nameOf(put),
      sha256,
      labels: {},
      policy: 'reread',
      openedAt,
    },
    sizeBytes: BigInt(length),
    partSizeBytes: put.plan.partSizeBytes,
    parts: [{ number: 1, sizeBytes: length, sha256 }],
    contentType: put.plan.contentType,
    store: 's3',
    blobKey: put.plan.key,
    blobTag: tagOf(put),
    uploadId: uploadIdOf(put),
    tokenId: PLANTED_TOKEN,
    tokenName: 'nightly',
  }
}
