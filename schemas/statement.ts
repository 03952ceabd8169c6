/** What is said about a sealed artifact later: it was revoked, or its bytes were removed. The record itself stays. */
import { z } from 'zod'
import { Instant } from './primitives.ts'

/** `revoke`: do not use it any more; `remove`: its bytes are gone, too. */
export const StatementKind = z.enum(['revoke', 'remove']).meta({ id: 'StatementKind' })
export type StatementKind = z.infer<typeof StatementKind>

export const MakeStatement = z
  .strictObject({
    kind: StatementKind,
    /** For everyone to read, for ever. */
    reason: z
      .string()
      .min(1)
      .max(512)
      .regex(/^[^\p{Cc}]+$/u, 'expected no control character')
      .refine((text) => new TextEncoder().encode(text).length <= 512, 'expected at most 512 bytes'),
  })
  .meta({ id: 'MakeStatement' })
export type MakeStatement = z.infer<typeof MakeStatement>

export const Statement = z
  .object({
    kind: StatementKind,
    reason: z.string(),
    at: Instant,
    /** Index of its leaf in the log. */
    index: z.int().min(0),
    /** Id of the token that said so, or `server`. */
    by: z.string(),
  })
  .meta({ id: 'Statement', description: 'What was said about an artifact after it was sealed' })
export type Statement = z.infer<typeof Statement>

export const Statements = z.object({ items: z.array(Statement) }).meta({ id: 'Statements' })
export type Statements = z.infer<typeof Statements>
