/**
 * S3 requests that others may send: header-signed PUTs that bind the bytes, presigned GETs.
 *
 * A PUT carries the SHA-256 and the length of its body as signed headers, so the store refuses other
 * bytes (Signature Version 4, "Task 1: create a canonical request": the payload hash). A presigned
 * PUT could not: its payload hash is UNSIGNED-PAYLOAD unless sent as a signed header, and the SDK's
 * presigner always says UNSIGNED-PAYLOAD.
 */
import { createHash, createHmac, type Hash, type Hmac } from 'node:crypto'
import { SignatureV4 } from '@smithy/signature-v4'
import { EMPTY_SHA256 } from '../../client/verify/digest.ts'
import type { Part } from '../../schemas/artifact.ts'
import type { Grant } from '../../schemas/upload.ts'
import type { Clock } from '../clock.ts'
import { formatDisposition } from './disposition.ts'
import { encodePercent } from './percent-encoding.ts'
import { locate, type S3Bucket } from './s3-bucket.ts'
import { toBase64 } from './s3-multipart.ts'
import type { ReadGrantOptions } from './store.ts'

/** A header-signed request is taken for 15 minutes around its date, whatever it says itself. */
export const HEADER_SIGNED_TTL_SECONDS_MAX = 15 * 60

export interface PutOptions {
  /** Part of a multipart upload; absent: the object itself. */
  uploadId?: string | undefined
  /** Refuse when the object exists. */
  ifAbsent: boolean
  /** Send `x-amz-checksum-sha256` too, for a store that keeps it. */
  withChecksum: boolean
  contentType?: string | undefined
}

export interface S3Signer {
  signPut(key: string, part: Part, options: PutOptions, ttlSeconds: number): Promise<Grant>
  signGet(key: string, tag: string, options: ReadGrantOptions): Promise<Grant>
  /** A GET that this server sends itself, at once, with these headers among the signed ones. */
  signRead(key: string, headers: Readonly<Record<string, string>>): Promise<SignedRead>
}

export interface SignedRead {
  url: URL
  headers: Record<string, string>
}

/** Signs with the credentials and the region of the bucket's own client. */
export function createS3Signer(bucket: S3Bucket, clock: Clock): S3Signer {
  const { credentials, region } = bucket.client.config
  const signer = new SignatureV4({
    service: 's3',
    credentials,
    region,
    sha256: Sha256,
    // S3 alone takes the path as it is, and the payload hash is always given.
    uriEscapePath: false,
    applyChecksum: false,
  })

  /** No grant outlives the credentials that signed it. */
  async function expiry(signedAt: Date, ttlSeconds: number): Promise<Date> {
    const { expiration } = await credentials()
    const byTtl = signedAt.getTime() + ttlSeconds * 1000
    return new Date(Math.min(byTtl, expiration?.getTime() ?? byTtl))
  }

  return {
    async signPut(key, part, options, ttlSeconds) {
      const url = locate(bucket, key)
      const signedAt = clock()
      const signed = await signer.sign(
        {
          ...describe(url, 'PUT'),
          query:
            options.uploadId === undefined
              ? {}
              : { partNumber: String(part.number), uploadId: options.uploadId },
          headers: {
            host: url.host,
            'content-length': String(part.sizeBytes),
            'x-amz-content-sha256': part.sha256,
            ...(options.withChecksum ? { 'x-amz-checksum-sha256': toBase64(part.sha256) } : {}),
            ...(options.ifAbsent ? { 'if-none-match': '*' } : {}),
            ...(options.contentType === undefined ? {} : { 'content-type': options.contentType }),
          },
        },
        { signingDate: signedAt },
      )
      const ttl = Math.min(ttlSeconds, HEADER_SIGNED_TTL_SECONDS_MAX)
      return formatGrant('PUT', url, signed, await expiry(signedAt, ttl))
    },

    async signGet(key, tag, { fileName, contentType, ttlSeconds, bound }) {
      const url = locate(bucket, key)
      const signedAt = clock()
      const signed = await signer.presign(
        {
          ...describe(url, 'GET'),
          query: {
            'response-content-type': contentType,
            'response-content-disposition': formatDisposition(fileName),
            'response-cache-control': 'private, no-transform',
          },
          headers: {
            host: url.host,
            'x-amz-content-sha256': 'UNSIGNED-PAYLOAD',
            ...(bound ? { 'if-match': tag } : {}),
          },
        },
        { signingDate: signedAt, expiresIn: ttlSeconds },
      )
      return formatGrant('GET', url, signed, await expiry(signedAt, ttlSeconds))
    },

    async signRead(key, headers) {
      const url = locate(bucket, key)
      const own = { host: url.host, 'x-amz-content-sha256': EMPTY_SHA256 }
      const signed = await signer.sign(
        { ...describe(url, 'GET'), query: {}, headers: { ...headers, ...own } },
        { signingDate: clock() },
      )
      return { url, headers: signed.headers }
    },
  }
}

interface Signed {
  headers: Record<string, string>
  query?: Record<string, string | string[] | null>
}

function describe(url: URL, method: string) {
  const port = url.port === '' ? {} : { port: Number(url.port) }
  return { method, protocol: url.protocol, hostname: url.hostname, path: url.pathname, ...port }
}

function formatGrant(method: Grant['method'], url: URL, signed: Signed, expiresAt: Date): Grant {
  // The client makes `host` from the address, which is the same.
  const { host: _, ...headers } = signed.headers
  const query = Object.entries(signed.query ?? {}).flatMap(([name, value]) =>
    typeof value === 'string' ? [`${encodePercent(name)}=${encodePercent(value)}`] : [],
  )
  return {
    method,
    url: `${url.origin}${url.pathname}${query.length === 0 ? '' : `?${query.join('&')}`}`,
    headers,
    expiresAt: expiresAt.toISOString(),
  }
}

type Source = string | ArrayBuffer | ArrayBufferView

/** Node's SHA-256 and HMAC in the shape that the signer wants. */
class Sha256 {
  #state: Hash | Hmac
  readonly #secret: Uint8Array | string | undefined

  constructor(secret?: Source) {
    this.#secret = secret === undefined ? undefined : toBytes(secret)
    this.#state = this.#start()
  }

  update(data: Source): void {
    this.#state.update(toBytes(data))
  }

  async digest(): Promise<Uint8Array> {
    return this.#state.digest()
  }

  reset(): void {
    this.#state = this.#start()
  }

  #start(): Hash | Hmac {
    return this.#secret === undefined ? createHash('sha256') : createHmac('sha256', this.#secret)
  }
}

function toBytes(source: Source): Uint8Array | string {
  if (typeof source === 'string') return source
  return ArrayBuffer.isView(source)
    ? new Uint8Array(source.buffer, source.byteOffset, source.byteLength)
    : new Uint8Array(source)
}
