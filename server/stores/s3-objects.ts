/** Objects of S3: the calls that this server makes itself, with the answers that matter as values. */
import { Readable } from 'node:stream'
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
} from '@aws-sdk/client-s3'
import { freeBehind } from '../../client/memory/spent-chunk.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import {
  CONNECT_TIMEOUT_MS,
  type ObjectBody,
  type ObjectRange,
  rangeHeader,
  readSteadily,
} from './object-body.ts'
import { attempt, type CallOptions, call, demand, placeOf, type S3Bucket } from './s3-bucket.ts'
import { isStatus, nameS3Error, refusalOf } from './s3-errors.ts'
import type { Blob } from './store.ts'

/** Size and tag, or `undefined` when there is no such object. */
export async function headObject(bucket: S3Bucket, key: string): Promise<Blob | undefined> {
  const verb = `look at ${key}`
  const command = new HeadObjectCommand(placeOf(bucket, key))
  try {
    const { ContentLength, ETag } = await attempt({}, (options) =>
      bucket.client.send(command, options),
    )
    return { sizeBytes: BigInt(demand(ContentLength, verb)), tag: demand(ETag, verb) }
  } catch (error) {
    if (isStatus(error, 404)) return undefined
    throw nameS3Error(verb, error)
  }
}

/** HTTP status of a HEAD of an object, whatever it is. */
export function headObjectStatus(bucket: S3Bucket, key: string): Promise<number> {
  const command = new HeadObjectCommand(placeOf(bucket, key))
  return statusOf(`look at ${key}`, {}, (options) => bucket.client.send(command, options))
}

/** HTTP status of a HEAD of the bucket itself. Soon: somebody waits for it. */
export function headBucketStatus(bucket: S3Bucket, signal?: AbortSignal): Promise<number> {
  const command = new HeadBucketCommand({ Bucket: bucket.name })
  const limits = { signal, timeoutMs: CONNECT_TIMEOUT_MS }
  return statusOf(`use bucket ${bucket.name}`, limits, (options) =>
    bucket.client.send(command, options),
  )
}

/**
 * Puts a small object, and returns it as the store acknowledged it; `undefined` when the condition
 * refused it, or the answer does not name what was stored: then a look tells.
 */
export async function putObject(
  bucket: S3Bucket,
  key: string,
  bytes: Uint8Array,
  contentType: string,
  conditional: boolean,
): Promise<Blob | undefined> {
  const command = new PutObjectCommand({
    ...placeOf(bucket, key),
    Body: bytes,
    ContentType: contentType,
    ...(conditional ? { IfNoneMatch: '*' } : {}),
  })
  try {
    const { ETag } = await attempt({}, (options) => bucket.client.send(command, options))
    return ETag === undefined ? undefined : { sizeBytes: BigInt(bytes.length), tag: ETag }
  } catch (error) {
    if (isStatus(error, 412)) return undefined
    throw nameS3Error(`put ${key}`, error)
  }
}

/** An object as a list names it. */
export interface ListedObject {
  key: string
  sizeBytes: number
}

/** The objects whose keys begin with these letters, page by page. */
export async function* listObjects(
  bucket: S3Bucket,
  beginning: string,
  signal?: AbortSignal,
): AsyncGenerator<ListedObject[]> {
  const verb = `list ${beginning}`
  const { Bucket, Key: Prefix } = placeOf(bucket, beginning)
  let ContinuationToken: string | undefined
  do {
    const command = new ListObjectsV2Command({ Bucket, Prefix, ContinuationToken })
    const page = await attempt({ signal }, (options) => bucket.client.send(command, options)).catch(
      (error: unknown) => {
        signal?.throwIfAborted()
        throw nameS3Error(verb, error)
      },
    )
    yield (page.Contents ?? []).map(({ Key, Size }) => ({
      key: demand(Key, verb).slice(Prefix.length - beginning.length),
      sizeBytes: demand(Size, verb),
    }))
    ContinuationToken = page.IsTruncated ? demand(page.NextContinuationToken, verb) : undefined
  } while (ContinuationToken !== undefined)
}

/** Does nothing when there is no such object. */
export async function removeObject(bucket: S3Bucket, key: string): Promise<void> {
  const command = new DeleteObjectCommand(placeOf(bucket, key))
  await call(`remove ${key}`, (options) => bucket.client.send(command, options))
}

/**
 * `[start, end)` of the object, if a tag is given of the one with that tag; `undefined` when the range
 * lies outside. Throws `blob_missing` and `precondition_failed`.
 */
export async function getObject(
  bucket: S3Bucket,
  key: string,
  tag: string | undefined,
  { start, end, signal }: ObjectRange,
): Promise<ObjectBody | undefined> {
  const verb = `read ${key}`
  const { range: Range } = rangeHeader({ start, end })
  const command = new GetObjectCommand({
    ...placeOf(bucket, key),
    ...(tag === undefined ? {} : { IfMatch: tag }),
    ...(Range === undefined ? {} : { Range }),
  })
  try {
    const { Body, ContentLength } = await attempt({ signal }, (options) =>
      bucket.client.send(command, options),
    )
    if (!(Body instanceof Readable)) throw new TypeError(`Cannot ${verb}: the body is no stream`)
    const sizeBytes = BigInt(demand(ContentLength, verb))
    const drop = () => void Body.destroy()
    return { sizeBytes, chunks: freeBehind(readSteadily(Body, drop, verb, bucket.pace, signal)) }
  } catch (error) {
    signal?.throwIfAborted()
    if (isStatus(error, 416)) return undefined
    if (isStatus(error, 404))
      throw new ArtifactError('blob_missing', `Cannot ${verb}: it is not in the store`)
    if (isStatus(error, 412))
      throw new ArtifactError('precondition_failed', `Cannot ${verb}: it is another object`, {
        expected: tag,
      })
    throw nameS3Error(verb, error)
  }
}

async function statusOf(
  verb: string,
  limits: CallOptions,
  send: (options: { abortSignal: AbortSignal }) => Promise<unknown>,
): Promise<number> {
  try {
    await attempt(limits, send)
    return 200
  } catch (error) {
    limits.signal?.throwIfAborted()
    const status = refusalOf(error)?.status
    if (status === undefined) throw nameS3Error(verb, error)
    return status
  }
}
