/** The filesystem store's answer to a granted GET (RFC 9110): whole or one range, never shown in a browser. */
import { ArtifactError } from '../../schemas/problems.ts'
import { formatContentRange, parseRange } from './byte-range.ts'
import { formatDisposition } from './disposition.ts'
import type { GrantedRequest, ReadPermission } from './filesystem-grants.ts'
import type { Store } from './store.ts'

export interface ContentRequest extends GrantedRequest {
  range?: string | undefined
  ifMatch?: string | undefined
  ifRange?: string | undefined
  signal?: AbortSignal
}

export interface ContentReply {
  status: 200 | 206 | 416
  headers: Record<string, string>
  /** Opens the file when it is first read, so one that nobody reads costs nothing. */
  body: AsyncIterable<Uint8Array> | undefined
}

/**
 * Answers a request whose grant was checked. Throws `blob_missing`; `precondition_failed` when the
 * object is not the granted one or not the one in `If-Match`; `grant_invalid` when a bound grant
 * comes without its `If-Match`.
 */
export async function openContent(
  store: Pick<Store, 'stat' | 'read'>,
  permission: ReadPermission,
  request: ContentRequest,
): Promise<ContentReply> {
  const { key, tag } = permission
  if (permission.bound && request.ifMatch === undefined)
    throw new ArtifactError('grant_invalid', 'Cannot use grant: it is not valid for this request')
  const blob = await store.stat(key)
  if (blob === undefined)
    throw new ArtifactError('blob_missing', `Cannot read ${key}: it is not in the store`)
  if (blob.tag !== tag || !isMatch(request.ifMatch, tag))
    throw new ArtifactError('precondition_failed', `Cannot read ${key}: it is another object`, {
      expected: blob.tag === tag ? request.ifMatch : tag,
      found: blob.tag,
    })
  const headers = describe(permission)
  const hasRange = request.ifRange === undefined || request.ifRange === tag
  const range = hasRange ? parseRange(request.range, blob.sizeBytes) : undefined
  if (range === 'unsatisfiable')
    return {
      status: 416,
      headers: { ...headers, 'content-range': `bytes */${blob.sizeBytes}`, 'content-length': '0' },
      body: undefined,
    }
  const { start, end } = range ?? { start: 0n, end: blob.sizeBytes }
  return {
    status: range === undefined ? 200 : 206,
    headers: {
      ...headers,
      'content-length': String(end - start),
      ...(range === undefined
        ? {}
        : { 'content-range': formatContentRange(range, blob.sizeBytes) }),
    },
    body: store.read(key, tag, {
      start,
      end,
      ...(request.signal === undefined ? {} : { signal: request.signal }),
    }),
  }
}

/** `If-Match` by strong comparison; no header is a match. */
function isMatch(header: string | undefined, tag: string): boolean {
  if (header === undefined || header.trim() === '*') return true
  return header.split(',').some((candidate) => candidate.trim() === tag)
}

// The bytes are whatever somebody uploaded: nothing of them may run under this address.
function describe({ tag, fileName, contentType }: ReadPermission): Record<string, string> {
  return {
    etag: tag,
    'accept-ranges': 'bytes',
    'content-type': contentType,
    'content-disposition': formatDisposition(fileName),
    'x-content-type-options': 'nosniff',
    'content-security-policy': "sandbox; default-src 'none'",
    'cache-control': 'private, no-transform',
  }
}
