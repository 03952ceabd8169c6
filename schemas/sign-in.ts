import { z } from 'zod'
import { Instant } from './primitives.ts'

/** A link that signs a browser in to the inspector, once. */
export const SignInLink = z
  .object({
    /** Relative to the server's own address; holds the secret. */
    path: z.string().regex(/^\/sign-in\/[A-Za-z0-9_-]{43}$/),
    expiresAt: Instant,
  })
  .meta({ id: 'SignInLink', description: 'A link that signs a browser in, once' })
export type SignInLink = z.infer<typeof SignInLink>
