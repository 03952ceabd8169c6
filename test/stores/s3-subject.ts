/** The S3 store as a subject of the contract. */
import { randomUUID } from 'node:crypto'
import { createPackIndex } from '../../server/records/packs.ts'
import { openS3Store } from '../../server/stores/s3.ts'
import type { Subject } from '../contract/subject.ts'
import type { S3Account } from '../support/ceph.ts'
import { createTestDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/postgres-cluster.ts'

export interface S3Subject extends Subject {
  /** Before every key of the store. */
  prefix: string
}

/** Opens a store below a fresh prefix of the account's bucket, with the index of its packs in a database of its own. */
export async function openS3Subject(
  account: S3Account,
  createDatabase: () => Promise<TestDatabase> = createTestDatabase,
): Promise<S3Subject> {
  const { endpoint, region, bucket, accessKeyId, secretAccessKey } = account
  await using stack = new AsyncDisposableStack()
  const database = stack.use(await createDatabase())
  const prefix = `test/${randomUUID()}`
  let shiftMs = 0
  const clock = () => new Date(Date.now() + shiftMs)
  const store = await openS3Store({
    endpoint,
    region,
    bucket,
    prefix,
    forcePathStyle: true,
    credentials: { accessKeyId, secretAccessKey },
    clock,
    packs: createPackIndex(database.server, clock),
    threads: { fromBytes: 0n, stretchMs: 0 },
  })
  stack.use(store)
  const held = stack.move()
  return {
    store,
    prefix,
    origin: endpoint,
    partSizeBytes: store.limits.partSizeMinBytes,
    shiftClock: (seconds) => {
      shiftMs = seconds * 1000
    },
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  }
}
