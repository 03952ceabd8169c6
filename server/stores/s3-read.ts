/** Reading an object of a bucket: long or short, whole or from somewhere on, over connections that break. */
import { type AheadSettings, createReadAhead, type RangeOpener } from './long-read.ts'
import { readOn } from './resumed-read.ts'
import type { S3Bucket } from './s3-bucket.ts'
import { BULK_FROM_BYTES, getObjectInBulk } from './s3-bulk-read.ts'
import { getObject } from './s3-objects.ts'
import type { S3Signer } from './s3-signing.ts'
import type { ReadOptions } from './store.ts'

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
  return (key, tag, { start = 0n, end, expectedBytes = 0n, signal } = {}) => {
    const stop = end ?? start + expectedBytes
    const open = async (position: bigint) => {
      const range = { start: position, end, signal }
      const isLong = tag !== undefined && stop - position >= BULK_FROM_BYTES
      if (isLong) return ahead.read(openerOf(bucket, signer, key, tag), range)
      return (await getObject(bucket, key, tag, range))?.chunks ?? []
    }
    return readOn(open, start, bucket.pace, signal)
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
