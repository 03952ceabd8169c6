/** Sessions of browsers and one-time links, by the SHA-256 of their secret. */
import type { Token } from '../../schemas/token.ts'
import type { AnySql } from './database.ts'
import { columns, formatToken, type TokenRow } from './tokens.ts'

export type SignInKind = 'session' | 'link'

/** Remembers a session or a link. */
export async function insertSignIn(
  sql: AnySql,
  signIn: {
    secretSha256: Uint8Array
    kind: SignInKind
    tokenId: string
    createdAt: Date
    expiresAt: Date
  },
): Promise<void> {
  await sql`
    insert into artifact.sign_in (secret_sha256, kind, token_id, created_at, expires_at)
    values (${signIn.secretSha256}, ${signIn.kind}, ${signIn.tokenId}, ${signIn.createdAt}, ${signIn.expiresAt})`
}

/** The token of a session that lives at `at`, if that token lives too, and when the session ends. */
export async function findSession(
  sql: AnySql,
  secretSha256: Uint8Array,
  at: Date,
): Promise<{ token: Token; endsAt: Date } | undefined> {
  const [row] = await sql<[(TokenRow & { ends_at: Date })?]>`
    select ${columns(sql)}, sign_in.ends_at
    from artifact.token join (
      select token_id, expires_at as ends_at from artifact.sign_in
      where secret_sha256 = ${secretSha256} and kind = 'session' and expires_at > ${at}
    ) as sign_in on sign_in.token_id = token.id
    where revoked_at is null and (expires_at is null or expires_at > ${at})`
  return row === undefined ? undefined : { token: formatToken(row), endsAt: row.ends_at }
}

/**
 * Uses up a link, and returns its token when both live at `at`. Of two who come with one link at the
 * same time Postgres deletes for one alone.
 */
export async function takeLink(
  sql: AnySql,
  secretSha256: Uint8Array,
  at: Date,
): Promise<Token | undefined> {
  const [row] = await sql<[TokenRow?]>`
    with used as (
      delete from artifact.sign_in where secret_sha256 = ${secretSha256} and kind = 'link'
      returning token_id, expires_at
    )
    select ${columns(sql)} from artifact.token
    where id in (select token_id from used where used.expires_at > ${at})
      and revoked_at is null and (expires_at is null or expires_at > ${at})`
  return row === undefined ? undefined : formatToken(row)
}

/** Ends a session. */
export async function deleteSession(sql: AnySql, secretSha256: Uint8Array): Promise<void> {
  await sql`delete from artifact.sign_in where secret_sha256 = ${secretSha256} and kind = 'session'`
}

/** Forgets what ended before a moment. */
export async function deleteEndedSignIns(sql: AnySql, before: Date): Promise<void> {
  await sql`delete from artifact.sign_in where expires_at < ${before}`
}
