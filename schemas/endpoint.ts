import type { z } from 'zod'
import type { ProblemCode } from './problems.ts'

/** One endpoint as data: a row of the table that server, client and OpenAPI share. */
export interface Endpoint {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** Parameters are written `:name`. */
  path: string
  summary: string
  /** What the caller needs: nothing, any valid token, a scope for the named artifact, or `admin`. */
  access: 'anyone' | 'token' | 'upload' | 'get' | 'list' | 'admin'
  /** A page of the inspector asks it: the session of a browser will do instead of a token. GET alone. */
  session?: true
  params?: z.ZodObject
  query?: z.ZodObject
  body?: z.ZodObject
  /** Replies in JSON by status. */
  replies: Record<number, z.ZodType>
  /** Replies in something else, by status. */
  otherReplies?: Record<number, { description: string; contentType?: string }>
  errors: readonly ProblemCode[]
}
