/** Bearer tokens: 256 random bits, shown once, stored as a hash. */
import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { ArtifactError } from '../../schemas/problems.ts'
import type { CreatedToken, CreateToken, Token } from '../../schemas/token.ts'
import type { Clock } from '../clock.ts'
import type { Sql } from '../records/database.ts'
import { findLiveToken, insertToken } from '../records/tokens.ts'
import { NOBODY, type Principal } from './scopes.ts'

/** Lets a scanner of leaked secrets recognise one. */
const PREFIX = 'artifact_'
const SECRET = /^artifact_[A-Za-z0-9_-]{43}$/

/** Makes a token. The reply is the only place where its secret ever is. */
export async function createToken(
  sql: Sql,
  request: CreateToken,
  clock: Clock,
): Promise<CreatedToken> {
  const secret = PREFIX + randomBytes(32).toString('base64url')
  const expiresAt =
    request.ttlSeconds === null ? null : new Date(clock().getTime() + request.ttlSeconds * 1000)
  const token = await insertToken(sql, {
    id: randomUUID(),
    name: request.name,
    secretSha256: hashSecret(secret),
    scopes: request.scopes,
    expiresAt,
  })
  if (token === undefined) throw new Error('256 random bits came twice')
  return { token, secret }
}

/** Makes sure that an admin token with this very secret exists. Throws `configuration` when it is malformed. */
export async function ensureAdminToken(sql: Sql, secret: string, name: string): Promise<void> {
  if (!SECRET.test(secret))
    throw new ArtifactError('configuration', 'Cannot use the admin token: it is malformed', {
      expected: 'artifact_ and 43 base64url characters (32 random bytes)',
    })
  const secretSha256 = hashSecret(secret)
  await insertToken(sql, {
    id: randomUUID(),
    name,
    secretSha256,
    scopes: ['admin'],
    expiresAt: null,
  })
}

/** Whether this secret is one of a live token. */
export async function isLiveSecret(sql: Sql, secret: string, clock: Clock): Promise<boolean> {
  return (
    SECRET.test(secret) && (await findLiveToken(sql, hashSecret(secret), clock())) !== undefined
  )
}

/**
 * Who sends a request with this `Authorization` header. No header: nobody. Throws
 * `unauthenticated` when the header names no live token; it does not say why.
 */
export async function authenticate(
  sql: Sql,
  authorization: string | undefined,
  clock: Clock,
): Promise<Principal> {
  if (authorization === undefined) return NOBODY
  const secret = /^Bearer +(\S+)$/i.exec(authorization)?.[1]
  if (secret === undefined || !SECRET.test(secret)) throw unauthenticated()
  // The index finds a hash, so the time of the look-up says nothing about the secret.
  const token = await findLiveToken(sql, hashSecret(secret), clock())
  if (token === undefined) throw unauthenticated()
  return { token: { id: token.id, name: token.name }, scopes: token.scopes }
}

/** The live token with this secret, or `undefined`; whatever the text is, one look-up finds out. */
export async function findToken(
  sql: Sql,
  secret: string,
  clock: Clock,
): Promise<Token | undefined> {
  return findLiveToken(sql, hashSecret(secret), clock())
}

/** The one answer to a token that is absent, unknown, expired or revoked. */
export function unauthenticated(): ArtifactError {
  return new ArtifactError('unauthenticated', 'Cannot accept the request: no valid token', {
    expected: 'Authorization: Bearer artifact_…',
  })
}

function hashSecret(secret: string): Buffer {
  return createHash('sha256').update(secret).digest()
}
