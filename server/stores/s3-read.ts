/** Reading an object of a bucket: long or short, whole or from somewhere on, over connections that break. */
import { setTimeout as delay } from 'node:timers/promises'
import { isAtPace, readClock } from '../../client/wire/pace.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { type AheadSettings, createReadAhead, type RangeOpener } from './long-read.ts'
import type { S3Bucket } from './s3-bucket.ts'
import { BULK_FROM_BYTES, getObjectInBulk } from './s3-bulk-read.ts'
import { getObject } from './s3-objects.ts'
import type { S3Signer } from './s3-signing.ts'
import type { ReadOptions } from './store.ts'

/** A read that breaks goes on where it was, unless it breaks this often and brings hardly anything. */
const READ_FAILURES_MAX = 5

/**
 * Reads an object, if a tag is given the one with that tag, in chunks that are good until the next one is
 * asked for; what is outside of it is no error. Throws `blob_missing`, `precondition_failed`,
 * `store_unavailable`.
 */
export type ReadObject = (
  key: string,
  tag: string | undefined,
  options?: ReadOptions,
) => AsyncGenerator<Uint8Array>

/** Reads objects of this bucket; those that are long share what may be held in memory ahead. */
export function createObjectReader(
  bucket: S3Bucket,
  signer: S3Signer,
  settings?: Partial<AheadSettings>,
): ReadObject {
  const ahead = createReadAhead(settings)
  return async function* readObject(key, tag, options = {}) {
    const { start = 0n, end, expectedBytes = 0n, signal } = options
    let position = start
    const stop = end ?? start + expectedBytes
    for (let failures = 0; ; ) {
      const before = position
      const sinceMs = readClock()
      try {
        const range = { start: position, end, signal }
        const isLong = tag !== undefined && stop - position >= BULK_FROM_BYTES
        const chunks = isLong
          ? ahead.read(openerOf(bucket, signer, key, tag), range)
          : ((await getObject(bucket, key, tag, range))?.chunks ?? [])
        for await (const chunk of chunks) {
          position += BigInt(chunk.length)
          yield chunk
        }
        return
      } catch (error) {
        const isPassing = error instanceof ArtifactError && error.code === 'store_unavailable'
        if (isAtPace(bucket.pace, Number(position - before), sinceMs)) failures = 0
        failures += 1
        if (!isPassing || failures >= READ_FAILURES_MAX) throw error
        await delay(100 * 2 ** failures, undefined, signal === undefined ? {} : { signal })
      }
    }
  }
}

function openerOf(bucket: S3Bucket, signer: S3Signer, key: string, tag: string): RangeOpener {
  const { pace } = bucket
  return {
    open: async (range) =>
      (await getObjectInBulk(signer, key, tag, range, { pace })) ??
      getObject(bucket, key, tag, range),
    openAhead: (range, hold) => getObjectInBulk(signer, key, tag, range, { pace, hold }),
  }
}
