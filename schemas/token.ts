/**
 * Tokens and their scopes.
 *
 *     scope   = "admin" / verb ":" task-glob "/" name-glob
 *     verb    = "upload" / "get" / "list"
 *
 * In a glob `*` stands for any characters but `/`, `**` for any characters at all; everything else
 * stands for itself. A task has no slash, so the first one ends the task glob.
 * For example `upload:nightly-*` + `/**`, or `get:turtle-db/public/**`.
 */
import { z } from 'zod'
import { page } from './pages.ts'
import { Instant } from './primitives.ts'

export const SCOPES_MAX = 32

export const Scope = z
  .string()
  .max(700)
  .regex(
    /^(admin|(upload|get|list):[A-Za-z0-9._*-]{1,160}\/[^\\\p{Cc}]{1,512})$/u,
    'expected admin, or upload:TASK/NAME, get:TASK/NAME or list:TASK/NAME with * and ** as wildcards',
  )
  .meta({ id: 'Scope' })
export type Scope = z.infer<typeof Scope>

/** A token as listed: never its secret. */
export const Token = z
  .object({
    id: z.uuid(),
    name: z.string(),
    scopes: z.array(Scope),
    createdAt: Instant,
    /** `null`: it does not expire. */
    expiresAt: Instant.nullable(),
    revokedAt: Instant.nullable(),
  })
  .meta({ id: 'Token' })
export type Token = z.infer<typeof Token>

export const CreateToken = z
  .strictObject({
    name: z
      .string()
      .min(1)
      .max(128)
      .regex(/^[^\p{Cc}]+$/u, 'expected no control character'),
    scopes: z.array(Scope).min(1).max(SCOPES_MAX),
    /** Lifetime in seconds, at most ten years; `null`: it does not expire. */
    ttlSeconds: z.int().min(1).max(315_360_000).nullable(),
  })
  .meta({ id: 'CreateToken' })
export type CreateToken = z.infer<typeof CreateToken>

/** The only reply that holds the secret. */
export const CreatedToken = z
  .object({ token: Token, secret: z.string() })
  .meta({ id: 'CreatedToken' })
export type CreatedToken = z.infer<typeof CreatedToken>

export const TokenPage = page('TokenPage', Token)
export type TokenPage = z.infer<typeof TokenPage>
