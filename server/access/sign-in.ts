/**
 * Signing in to the inspector: with a token, or with a link that works once.
 *
 * A session is for looking alone. It is accepted for GET and HEAD, where nothing changes anything, and
 * gives of its token only the scopes that read: somebody who could send requests in the visitor's name
 * (CSRF) would gain nothing by it, so no form needs a secret of its own.
 */
import { createHash, randomBytes } from 'node:crypto'
import { ArtifactError } from '../../schemas/problems.ts'
import type { Token } from '../../schemas/token.ts'
import type { Clock } from '../clock.ts'
import type { Sql } from '../records/database.ts'
import {
  deleteSession,
  findSession,
  insertSignIn,
  type SignInKind,
  takeLink,
} from '../records/sign-ins.ts'
import { isTokenLive } from '../records/tokens.ts'
import type { Principal } from './scopes.ts'

/** Longest life of a session, in seconds. */
export const SESSION_SECONDS_MAX = 8 * 3600
/** Life of a one-time link, in seconds. */
export const LINK_SECONDS = 600

/** 32 random bytes in base64url. */
const SECRET = /^[A-Za-z0-9_-]{43}$/

/** A new secret, and until when it is good. */
export interface SignIn {
  secret: string
  endsAt: Date
}

/** The scopes of a token that only read. */
export function readingScopes(scopes: readonly string[]): string[] {
  if (scopes.includes('admin')) return ['get:*/**', 'list:*/**']
  return scopes.filter((scope) => /^(get|list):/.test(scope))
}

/** Signs in with a token. Throws `forbidden` when it may read nothing: there would be nothing to see. */
export async function openSession(sql: Sql, token: Token, clock: Clock): Promise<SignIn> {
  checkMayRead(token.scopes)
  return keep(sql, 'session', token, SESSION_SECONDS_MAX, clock)
}

/** Makes a link that signs in once as this token. Throws `forbidden` when it may read nothing. */
export async function makeLink(
  sql: Sql,
  token: Pick<Token, 'id' | 'scopes' | 'expiresAt'>,
  clock: Clock,
): Promise<SignIn> {
  checkMayRead(token.scopes)
  return keep(sql, 'link', token, LINK_SECONDS, clock)
}

/** Uses up a link; `undefined` when it was used, is over, or never was. */
export async function useLink(sql: Sql, secret: string, clock: Clock): Promise<Token | undefined> {
  return SECRET.test(secret) ? takeLink(sql, hash(secret), clock()) : undefined
}

/** Who has this session; `undefined` when it or its token has ended. */
export async function findVisitor(
  sql: Sql,
  secret: string,
  clock: Clock,
): Promise<Principal | undefined> {
  // The index finds a hash, so the time of the look-up says nothing about the secret.
  if (!SECRET.test(secret)) return undefined
  const secretSha256 = hash(secret)
  const session = await findSession(sql, secretSha256, clock())
  if (session === undefined) return undefined
  const { token, endsAt } = session
  return {
    token: { id: token.id, name: token.name },
    scopes: readingScopes(token.scopes),
    session: { endsAt, secretSha256 },
  }
}

/** Whether somebody who was let in still is: the session and its token live, or the token does. */
export async function isStillIn(sql: Sql, principal: Principal, clock: Clock): Promise<boolean> {
  const { token, session } = principal
  if (session !== undefined)
    return (await findSession(sql, session.secretSha256, clock())) !== undefined
  return token !== undefined && (await isTokenLive(sql, token.id, clock()))
}

/** Signs out. */
export async function endSession(sql: Sql, secret: string): Promise<void> {
  if (SECRET.test(secret)) await deleteSession(sql, hash(secret))
}

function checkMayRead(scopes: readonly string[]): void {
  if (readingScopes(scopes).length > 0) return
  throw new ArtifactError('forbidden', 'Cannot sign in: the token may read nothing', {
    expected: 'a scope get:…, list:… or admin',
    found: scopes.join(' '),
  })
}

async function keep(
  sql: Sql,
  kind: SignInKind,
  token: Pick<Token, 'id' | 'expiresAt'>,
  seconds: number,
  clock: Clock,
): Promise<SignIn> {
  const secret = randomBytes(32).toString('base64url')
  const createdAt = clock()
  const latest = createdAt.getTime() + seconds * 1000
  // Shown to the visitor; that the token must live is asked at every request anyway.
  const tokenEnd = token.expiresAt === null ? latest : Date.parse(token.expiresAt)
  const endsAt = new Date(Math.max(createdAt.getTime() + 1, Math.min(latest, tokenEnd)))
  await insertSignIn(sql, {
    secretSha256: hash(secret),
    kind,
    tokenId: token.id,
    createdAt,
    expiresAt: endsAt,
  })
  return { secret, endsAt }
}

function hash(secret: string): Buffer {
  return createHash('sha256').update(secret).digest()
}
