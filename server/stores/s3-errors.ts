/** What an S3 store answers when it does not do what was asked, in words of this project. */
import { S3ServiceException } from '@aws-sdk/client-s3'
import { ArtifactError } from '../../schemas/problems.ts'
import { nameSilence } from './object-body.ts'

export interface S3Refusal {
  /** S3's own code, for example `NoSuchUpload`; a HEAD has only `NotFound` and the like. */
  code: string
  status: number | undefined
}

/** What the store said, or `undefined` when it said nothing (the network, a timeout, a bug). */
export function refusalOf(error: unknown): S3Refusal | undefined {
  if (!(error instanceof S3ServiceException)) return undefined
  return { code: error.name, status: error.$metadata.httpStatusCode }
}

/** Whether the store answered with this HTTP status. */
export function isStatus(error: unknown, status: number): boolean {
  return refusalOf(error)?.status === status
}

/** There is no such upload or object. Ceph says NoSuchKey where AWS says NoSuchUpload; a missing bucket is another matter. */
export function isGone(error: unknown): boolean {
  const refusal = refusalOf(error)
  return refusal?.status === 404 && refusal.code !== 'NoSuchBucket'
}

const FULL = new Set([
  'QuotaExceeded',
  'InsufficientStorage',
  'XMinioStorageFull',
  'EntityTooLarge',
])

/**
 * The error in words: `storage_full`, `internal` for a request that was wrong, else
 * `store_unavailable`. `verb` completes "Cannot …". An error of this project passes.
 */
export function nameS3Error(verb: string, error: unknown): ArtifactError {
  if (error instanceof ArtifactError) return error
  const refusal = refusalOf(error)
  if (refusal === undefined) return nameSilence(verb, error)
  const { code, status } = refusal
  const found = status === undefined ? code : `${status} ${code}`
  const values = { found, cause: error }
  if (status === 507 || FULL.has(code))
    return new ArtifactError('storage_full', `Cannot ${verb}: the store is full`, values)
  const isOurs = status !== undefined && status >= 400 && status < 500
  const isPassing = [401, 403, 404, 408, 409, 425, 429].includes(status ?? 0)
  return isOurs && !isPassing
    ? new ArtifactError('internal', `Cannot ${verb}: the store answers ${found}`, values)
    : new ArtifactError('store_unavailable', `Cannot ${verb}: the store answers ${found}`, values)
}
