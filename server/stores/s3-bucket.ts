/** One bucket through the AWS SDK: where it is, and how a call to it is bounded and judged. */
import { S3Client, type S3ClientConfig } from '@aws-sdk/client-s3'
import type { Pace } from '../../client/wire/pace.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { CALL_TIMEOUT_MS, CONNECT_TIMEOUT_MS } from './object-body.ts'
import { nameS3Error } from './s3-errors.ts'

export interface S3BucketOptions {
  bucket: string
  /** Before every key, without slashes at its ends; may be empty. */
  prefix: string
  region: string
  /** Absent: AWS in that region. */
  endpoint?: string | undefined
  /** `endpoint/bucket/key` rather than `bucket.endpoint/key`. */
  forcePathStyle: boolean
  /** Absent: the SDK's own chain (environment, profile, instance). */
  credentials?: S3ClientConfig['credentials']
  /** What a body that is read has to keep [1 MiB in 60 s of waiting]: a byte now and then is no service. */
  pace?: Pace | undefined
}

export interface S3Bucket extends AsyncDisposable {
  readonly client: S3Client
  readonly name: string
  readonly prefix: string
  /** Of the bucket itself: scheme, host and, in path style, its name. */
  readonly address: URL
  /** A body that does not keep it is broken. */
  readonly pace: Pace
}

const DEFAULT_PACE: Pace = { paceMs: 60_000, paceBytes: 1024 ** 2 }

/** Connects to nothing yet; the first call does. */
export function openS3Bucket(options: S3BucketOptions): S3Bucket {
  const { bucket, prefix, region, endpoint, forcePathStyle, credentials } = options
  const { pace = DEFAULT_PACE } = options
  const client = new S3Client({
    region,
    forcePathStyle,
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(credentials === undefined ? {} : { credentials }),
    // The defaults send checksum headers and trailers that many stores do not take.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    maxAttempts: 4,
    requestHandler: { connectionTimeout: CONNECT_TIMEOUT_MS },
  })
  // What the SDK itself would use, whatever the region or the style.
  const { url } = client.config.endpointProvider({
    Bucket: bucket,
    Region: region,
    ForcePathStyle: forcePathStyle,
    UseFIPS: false,
    UseDualStack: false,
    Accelerate: false,
    UseGlobalEndpoint: false,
    DisableMultiRegionAccessPoints: true,
    ...(endpoint === undefined ? {} : { Endpoint: endpoint }),
  })
  return {
    client,
    name: bucket,
    prefix,
    address: url,
    pace,
    async [Symbol.asyncDispose]() {
      client.destroy()
    },
  }
}

/** The fields that name an object in a command. `key` comes without the prefix, here and elsewhere. */
export function placeOf(bucket: S3Bucket, key: string): { Bucket: string; Key: string } {
  return { Bucket: bucket.name, Key: bucket.prefix === '' ? key : `${bucket.prefix}/${key}` }
}

/** The address of an object; nothing in it needs to be escaped. */
export function locate(bucket: S3Bucket, key: string): URL {
  const { pathname } = bucket.address
  return new URL(`${pathname.replace(/\/$/, '')}/${placeOf(bucket, key).Key}`, bucket.address)
}

export interface CallOptions {
  signal?: AbortSignal | undefined
  /** [60 s] */
  timeoutMs?: number
}

/** Sends under the caller's signal and a time limit. Errors pass as the SDK throws them. */
export async function attempt<T>(
  { signal, timeoutMs = CALL_TIMEOUT_MS }: CallOptions,
  send: (options: { abortSignal: AbortSignal }) => Promise<T>,
): Promise<T> {
  const timeout = AbortSignal.timeout(timeoutMs)
  try {
    const abortSignal = signal === undefined ? timeout : AbortSignal.any([signal, timeout])
    return await send({ abortSignal })
  } catch (error) {
    signal?.throwIfAborted()
    throw error
  }
}

/** Like {@link attempt}, with errors in words. `verb` completes "Cannot …". */
export async function call<T>(
  verb: string,
  send: (options: { abortSignal: AbortSignal }) => Promise<T>,
): Promise<T> {
  try {
    return await attempt({}, send)
  } catch (error) {
    throw nameS3Error(verb, error)
  }
}

/** A field that an answer must have. */
export function demand<T>(value: T | undefined, verb: string): T {
  if (value !== undefined) return value
  throw new ArtifactError('store_unavailable', `Cannot ${verb}: the answer lacks a field`)
}
