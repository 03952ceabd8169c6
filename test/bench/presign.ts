/**
 * Presigned requests for curl (AWS Signature Version 4, "Authenticating Requests: Using Query
 * Parameters"): of a payload that nobody checks, which is what a floor is.
 */
import { createHash, createHmac } from 'node:crypto'
import type { S3Account } from '../support/ceph.ts'

const EXPIRES_SECONDS = 3600

/** The address of an object that takes the method without further headers for an hour. */
export function presign(account: S3Account, method: 'GET' | 'PUT', key: string): string {
  const url = new URL(`/${account.bucket}/${key}`, account.endpoint)
  return presignUrl(url, method, account, { signedAt: new Date(), expiresSeconds: EXPIRES_SECONDS })
}

/** Adds a signature to the address of a request with no header but its host. */
export function presignUrl(
  url: URL,
  method: 'GET' | 'PUT',
  account: Pick<S3Account, 'region' | 'accessKeyId' | 'secretAccessKey'>,
  { signedAt, expiresSeconds }: { signedAt: Date; expiresSeconds: number },
): string {
  const { region, accessKeyId, secretAccessKey } = account
  const date = signedAt.toISOString().replace(/[-:]|\.\d+/g, '')
  const scope = [date.slice(0, 8), region, 's3', 'aws4_request']
  // In the order of their names, as the signature wants them.
  const query = new URLSearchParams({
    'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
    'X-Amz-Credential': `${accessKeyId}/${scope.join('/')}`,
    'X-Amz-Date': date,
    'X-Amz-Expires': String(expiresSeconds),
    'X-Amz-SignedHeaders': 'host',
  })
  const canonical = `${method}\n${url.pathname}\n${query}\nhost:${url.host}\n\nhost\nUNSIGNED-PAYLOAD`
  const digest = createHash('sha256').update(canonical).digest('hex')
  const text = `AWS4-HMAC-SHA256\n${date}\n${scope.join('/')}\n${digest}`
  const signingKey = scope.reduce<string | Buffer>(
    (secret, word) => createHmac('sha256', secret).update(word).digest(),
    `AWS4${secretAccessKey}`,
  )
  query.set('X-Amz-Signature', createHmac('sha256', signingKey).update(text).digest('hex'))
  return `${url.href}?${query}`
}
