/** Bearer tokens, by the SHA-256 of their secret. */
import type { Token } from '../../schemas/token.ts'
import type { AnySql } from './database.ts'

/** As it comes from Postgres. */
export interface TokenRow {
  id: string
  name: string
  scopes: string[]
  created_at: Date
  expires_at: Date | null
  revoked_at: Date | null
}

/** Inserts a token unless one with this secret exists: `undefined` then. */
export async function insertToken(
  sql: AnySql,
  token: {
    id: string
    name: string
    secretSha256: Uint8Array
    scopes: readonly string[]
    expiresAt: Date | null
  },
): Promise<Token | undefined> {
  const [row] = await sql<[TokenRow?]>`
    insert into artifact.token (id, name, secret_sha256, scopes, expires_at)
    values (${token.id}, ${token.name}, ${token.secretSha256}, ${[...token.scopes]}, ${token.expiresAt})
    on conflict (secret_sha256) do nothing
    returning ${columns(sql)}`
  return row === undefined ? undefined : formatToken(row)
}

/** The token with this secret that is neither expired nor revoked at `at`. */
export async function findLiveToken(
  sql: AnySql,
  secretSha256: Uint8Array,
  at: Date,
): Promise<Token | undefined> {
  const [row] = await sql<[TokenRow?]>`
    select ${columns(sql)} from artifact.token
    where secret_sha256 = ${secretSha256} and revoked_at is null
      and (expires_at is null or expires_at > ${at})`
  return row === undefined ? undefined : formatToken(row)
}

/** Whether this token is neither expired nor revoked at `at`. */
export async function isTokenLive(sql: AnySql, id: string, at: Date): Promise<boolean> {
  const rows = await sql`
    select 1 from artifact.token
    where id = ${id} and revoked_at is null and (expires_at is null or expires_at > ${at})`
  return rows.length > 0
}

/** Tokens by id, those after `after`. */
export async function listTokens(
  sql: AnySql,
  page: { after: string | undefined; limit: number },
): Promise<Token[]> {
  const rows = await sql<TokenRow[]>`
    select ${columns(sql)} from artifact.token
    ${page.after === undefined ? sql`` : sql`where id > ${page.after}`}
    order by id limit ${page.limit}`
  return rows.map(formatToken)
}

/** Revokes a token; a repeated call keeps the first date. `undefined` when there is none. */
export async function revokeToken(sql: AnySql, id: string, at: Date): Promise<Token | undefined> {
  const [row] = await sql<[TokenRow?]>`
    update artifact.token set revoked_at = coalesce(revoked_at, ${at}) where id = ${id}
    returning ${columns(sql)}`
  return row === undefined ? undefined : formatToken(row)
}

/** All columns that {@link formatToken} reads. */
export const columns = (sql: AnySql) => sql`id, name, scopes, created_at, expires_at, revoked_at`

/** The wire form. */
export const formatToken = (row: TokenRow): Token => ({
  id: row.id,
  name: row.name,
  scopes: row.scopes,
  createdAt: row.created_at.toISOString(),
  expiresAt: row.expires_at?.toISOString() ?? null,
  revokedAt: row.revoked_at?.toISOString() ?? null,
})
