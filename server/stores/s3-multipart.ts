/** Multipart uploads of S3: the calls that this server makes itself, with the answers that matter as values. */
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  ListPartsCommand,
} from '@aws-sdk/client-s3'
import type { Part } from '../../schemas/artifact.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { PartInStore } from './part-list.ts'
import { attempt, call, demand, placeOf, type S3Bucket } from './s3-bucket.ts'
import { isGone, isStatus, nameS3Error, refusalOf } from './s3-errors.ts'

export interface PartInBucket extends PartInStore {
  etag: string
}

/** Completing joins all parts, which may take minutes. */
const COMPLETE_TIMEOUT_MS = 15 * 60_000
/** Most that ListParts gives at once. */
const PAGE_PARTS = 1000
/** Parts in flight can land after an abort; S3 asks to abort until none is listed. */
const ABORTS_MAX = 5

/** Begins a multipart upload and returns its id. With checksums, S3 demands one with every part. */
export async function createUpload(
  bucket: S3Bucket,
  key: string,
  contentType: string,
  withChecksums: boolean,
): Promise<string> {
  const command = new CreateMultipartUploadCommand({
    ...placeOf(bucket, key),
    ContentType: contentType,
    ...(withChecksums ? { ChecksumAlgorithm: 'SHA256', ChecksumType: 'COMPOSITE' } : {}),
  })
  const verb = `begin ${key}`
  const { UploadId } = await call(verb, (options) => bucket.client.send(command, options))
  return demand(UploadId, verb)
}

/** All parts by number; `undefined` when there is no such upload (any more). */
export async function listUploadParts(
  bucket: S3Bucket,
  key: string,
  uploadId: string,
): Promise<Map<number, PartInBucket> | undefined> {
  const parts = new Map<number, PartInBucket>()
  try {
    for (let marker: string | undefined, isMore = true; isMore; ) {
      const command: ListPartsCommand = new ListPartsCommand({
        ...placeOf(bucket, key),
        UploadId: uploadId,
        MaxParts: PAGE_PARTS,
        ...(marker === undefined ? {} : { PartNumberMarker: marker }),
      })
      const page = await attempt({}, (options) => bucket.client.send(command, options))
      for (const { PartNumber, Size, ETag, ChecksumSHA256 } of page.Parts ?? []) {
        if (PartNumber === undefined || Size === undefined || ETag === undefined) continue
        const sha256 = ChecksumSHA256 === undefined ? undefined : toHex(ChecksumSHA256)
        parts.set(PartNumber, { sizeBytes: Size, etag: ETag, sha256 })
      }
      marker = page.NextPartNumberMarker
      isMore = page.IsTruncated === true && marker !== undefined
    }
  } catch (error) {
    if (isGone(error)) return undefined
    throw nameS3Error(`list parts of ${key}`, error)
  }
  return parts
}

export interface CompleteOptions {
  parts: readonly (Part & { etag: string })[]
  sizeBytes: bigint
  /** Refuse when the object exists. */
  conditional: boolean
  /** Name the digests of the parts, as an upload begun with checksums demands. */
  withChecksums: boolean
}

/** Joins the parts: `exists` when the condition refused it, `gone` when there is no such upload. */
export async function completeUpload(
  bucket: S3Bucket,
  key: string,
  uploadId: string,
  { parts, sizeBytes, conditional, withChecksums }: CompleteOptions,
): Promise<'done' | 'exists' | 'gone'> {
  const command = new CompleteMultipartUploadCommand({
    ...placeOf(bucket, key),
    UploadId: uploadId,
    MpuObjectSize: Number(sizeBytes),
    ...(conditional ? { IfNoneMatch: '*' } : {}),
    MultipartUpload: {
      Parts: parts.map((part) => ({
        PartNumber: part.number,
        ETag: part.etag,
        ...(withChecksums ? { ChecksumSHA256: toBase64(part.sha256) } : {}),
      })),
    },
  })
  try {
    await attempt({ timeoutMs: COMPLETE_TIMEOUT_MS }, (options) =>
      bucket.client.send(command, options),
    )
    return 'done'
  } catch (error) {
    if (isStatus(error, 412)) return 'exists'
    if (isGone(error)) return 'gone'
    // Something landed since the parts were listed; the next try sees it.
    if (refusalOf(error)?.code === 'InvalidPart')
      throw new ArtifactError('store_unavailable', `Cannot complete ${key}: its parts changed`, {
        cause: error,
      })
    throw nameS3Error(`complete ${key}`, error)
  }
}

/** Aborts until nothing is left of the upload. Does nothing when there is no such upload. */
export async function abortUpload(bucket: S3Bucket, key: string, uploadId: string): Promise<void> {
  for (let aborts = 1; ; aborts += 1) {
    await abortOnce(bucket, key, uploadId)
    const left = await listUploadParts(bucket, key, uploadId)
    if (left === undefined || left.size === 0) return
    if (aborts === ABORTS_MAX)
      throw new ArtifactError('store_unavailable', `Cannot abort ${key}: parts keep coming in`, {
        found: `${left.size} parts`,
      })
  }
}

async function abortOnce(bucket: S3Bucket, key: string, uploadId: string): Promise<void> {
  const command = new AbortMultipartUploadCommand({ ...placeOf(bucket, key), UploadId: uploadId })
  try {
    await attempt({}, (options) => bucket.client.send(command, options))
  } catch (error) {
    if (!isGone(error)) throw nameS3Error(`abort ${key}`, error)
  }
}

/** S3 writes digests in base64, this project in hexadecimal. */
export function toBase64(sha256: string): string {
  return Buffer.from(sha256, 'hex').toString('base64')
}

function toHex(base64: string): string {
  return Buffer.from(base64, 'base64').toString('hex')
}
