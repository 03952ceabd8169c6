/**
 * Grants of the filesystem store: addresses of this server that carry their own permission.
 *
 *     PUT /v1/<key>?part=3&offset=33554432&size=16777216&sha256=<64 hex>&expires=<unix s>&signature=<mac>
 *     GET /v1/<key>?tag=<etag>&name=<file name>&type=<media type>&bound=<0|1>&expires=<unix s>&signature=<mac>
 *     mac = base64url(HMAC-SHA256(secret, JSON(["artifact-grant-v1", method, key, value…])))
 *
 * The values are signed as they stand in the address, in the order above; JSON keeps one value from
 * flowing into the next. Nothing of an address is used before its signature has been checked.
 */
import { createHmac, createSecretKey, type KeyObject, timingSafeEqual } from 'node:crypto'
import type { Part } from '../../schemas/artifact.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { Grant } from '../../schemas/upload.ts'
import type { Clock } from '../clock.ts'
import { formatBlobPath, parseBlobPath } from './blob-key.ts'

/** Shortest secret, in bytes: the output of SHA-256 (RFC 2104, section 3). */
export const GRANT_SECRET_BYTES_MIN = 32

const VERSION = 'artifact-grant-v1'
const PUT_FIELDS = ['part', 'offset', 'size', 'sha256', 'expires'] as const
const GET_FIELDS = ['tag', 'name', 'type', 'bound', 'expires'] as const

/** What a checked PUT grant allows: exactly these bytes, at this place. */
export interface PartPermission {
  key: string
  part: Part
  /** Of the first byte of the part in the object. */
  offset: number
}

/** What a checked GET grant allows: this object, as long as it is the same. */
export interface ReadPermission {
  key: string
  tag: string
  fileName: string
  contentType: string
  bound: boolean
}

/** The part of a request that a grant speaks about. */
export interface GrantedRequest {
  /** As it came, from the leading slash to the question mark. */
  path: string
  query: URLSearchParams
}

export interface Granter {
  grantPart(permission: PartPermission, ttlSeconds: number): Grant
  grantRead(permission: ReadPermission, ttlSeconds: number): Grant
  /** Both throw `grant_invalid`, or `grant_expired` when it was valid once. */
  checkPart(request: GrantedRequest): PartPermission
  checkRead(request: GrantedRequest): ReadPermission
}

/** Signs and checks grants with one secret. Throws `configuration` when the secret is too short. */
export function createGranter(secret: Uint8Array, clock: Clock): Granter {
  if (secret.length < GRANT_SECRET_BYTES_MIN)
    throw new ArtifactError('configuration', 'Cannot sign grants: the secret is too short', {
      expected: `at least ${GRANT_SECRET_BYTES_MIN} bytes`,
      found: `${secret.length} bytes`,
    })

  // Made once: to make it of bytes again takes longer than to sign with it.
  const signingKey = createSecretKey(secret)
  const expiry = (ttlSeconds: number) => String(Math.floor(clock().getTime() / 1000) + ttlSeconds)
  const check = (method: string, names: readonly string[], request: GrantedRequest) =>
    checkAddress(signingKey, clock, method, names, request)

  return {
    grantPart({ key, part, offset }, ttlSeconds) {
      const { number, sizeBytes, sha256 } = part
      const numbers = [number, offset, sizeBytes].map(String)
      const values = [...numbers, sha256, expiry(ttlSeconds)]
      return formatGrant(signingKey, 'PUT', key, PUT_FIELDS, values, {
        'content-length': String(sizeBytes),
      })
    },
    grantRead({ key, tag, fileName, contentType, bound }, ttlSeconds) {
      const values = [tag, fileName.toWellFormed(), contentType, bound ? '1' : '0']
      return formatGrant(
        signingKey,
        'GET',
        key,
        GET_FIELDS,
        [...values, expiry(ttlSeconds)],
        bound ? { 'if-match': tag } : {},
      )
    },
    checkPart(request) {
      const { key, values } = check('PUT', PUT_FIELDS, request)
      const [part = '', offset = '', size = '', sha256 = ''] = values
      return {
        key,
        part: { number: Number(part), sizeBytes: Number(size), sha256 },
        offset: Number(offset),
      }
    },
    checkRead(request) {
      const { key, values } = check('GET', GET_FIELDS, request)
      const [tag = '', fileName = '', contentType = '', bound] = values
      return { key, tag, fileName, contentType, bound: bound === '1' }
    },
  }
}

function formatGrant(
  signingKey: KeyObject,
  method: Grant['method'],
  key: string,
  names: readonly string[],
  values: readonly string[],
  headers: Record<string, string>,
): Grant {
  const query = new URLSearchParams()
  for (const [index, name] of names.entries()) query.append(name, values[index] ?? '')
  query.append('signature', sign(signingKey, method, key, values))
  return {
    method,
    url: `${formatBlobPath(key)}?${query}`,
    headers,
    expiresAt: new Date(Number(values.at(-1)) * 1000).toISOString(),
  }
}

function sign(
  signingKey: KeyObject,
  method: string,
  key: string,
  values: readonly string[],
): string {
  const text = JSON.stringify([VERSION, method, key, ...values])
  return createHmac('sha256', signingKey).update(text).digest('base64url')
}

function checkAddress(
  signingKey: KeyObject,
  clock: Clock,
  method: string,
  names: readonly string[],
  { path, query }: GrantedRequest,
): { key: string; values: string[] } {
  const key = parseBlobPath(path)
  const values = names.flatMap((name) => query.getAll(name))
  const signatures = query.getAll('signature')
  // As many values as names, and no others: a name that is missing cannot hide behind one given
  // twice, since the values are signed in order.
  const isWhole = query.size === names.length + 1 && names.every((name) => query.has(name))
  if (key === undefined || !isWhole || signatures.length !== 1) throw invalid()
  if (!isSameText(sign(signingKey, method, key, values), signatures[0] ?? '')) throw invalid()
  const expiresAtMs = Number(values.at(-1)) * 1000
  if (clock().getTime() >= expiresAtMs)
    throw new ArtifactError('grant_expired', 'Cannot use grant: it has expired', {
      expected: `use before ${new Date(expiresAtMs).toISOString()}`,
    })
  return { key, values }
}

/** Compares in a time that tells nothing about where two texts differ. */
function isSameText(expected: string, found: string): boolean {
  const [one, other] = [Buffer.from(expected), Buffer.from(found)]
  return one.length === other.length && timingSafeEqual(one, other)
}

// Says nothing about what was wrong: the honest client sends the address as it came.
function invalid(): ArtifactError {
  return new ArtifactError('grant_invalid', 'Cannot use grant: it is not valid for this request')
}
