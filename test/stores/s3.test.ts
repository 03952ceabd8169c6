/** The S3 store against a real gateway: the contract, and what is its own. */
import { randomUUID } from 'node:crypto'
import { openS3Store } from '../../server/stores/s3.ts'
import { describeStoreContract } from '../contract/store.ts'
import type { Subject } from '../contract/subject.ts'
import { getTestS3 } from '../support/ceph.ts'

async function openSubject(): Promise<Subject> {
  const { endpoint, region, bucket, accessKeyId, secretAccessKey } = getTestS3()
  let shiftMs = 0
  const store = await openS3Store({
    endpoint,
    region,
    bucket,
    prefix: `test/${randomUUID()}`,
    forcePathStyle: true,
    credentials: { accessKeyId, secretAccessKey },
    clock: () => new Date(Date.now() + shiftMs),
  })
  return {
    store,
    origin: endpoint,
    partSizeBytes: store.limits.partSizeMinBytes,
    shiftClock: (seconds) => {
      shiftMs = seconds * 1000
    },
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  }
}

describeStoreContract('S3', openSubject)
