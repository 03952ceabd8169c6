/** What was seen when the bytes of a sealed artifact were read again. */
import { z } from 'zod'
import { page } from './pages.ts'
import { ByteCount, Instant } from './primitives.ts'

/**
 * `agreed`: size, every part digest and the whole digest are as recorded; `mismatch`: something is
 * not; `missing`: the store has no such object. Trouble that passes is no outcome.
 */
export const VerificationOutcome = z
  .enum(['agreed', 'mismatch', 'missing'])
  .meta({ id: 'VerificationOutcome' })
export type VerificationOutcome = z.infer<typeof VerificationOutcome>

export const Verification = z
  .object({
    at: Instant,
    outcome: VerificationOutcome,
    /** Which check failed: a problem code; absent when it agreed. */
    code: z.string().optional(),
    expected: z.string().optional(),
    found: z.string().optional(),
    /** Read until the outcome was clear. */
    bytes: ByteCount,
    /** How long it took. */
    seconds: z.number().min(0),
    /** The server process that read, as its log names it. */
    server: z.uuid(),
  })
  .meta({ id: 'Verification', description: 'One look at the stored bytes after the seal' })
export type Verification = z.infer<typeof Verification>

export const VerificationPage = page('VerificationPage', Verification)
export type VerificationPage = z.infer<typeof VerificationPage>
