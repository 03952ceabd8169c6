/** An error as it travels: the RFC 9457 problem document, and the way there and back. */
import { z } from 'zod'
import { ArtifactError, PROBLEM_CODES, PROBLEMS, type ProblemValues } from './problems.ts'

/** A `FieldFault` on the wire. */
const FieldFaultDocument = z.object({
  field: z.string(),
  expected: z.string(),
  found: z.string().optional(),
})

/** RFC 9457 problem document, with a closed `code`. */
export const Problem = z
  .object({
    /** `urn:artifact:problem:` and the code. */
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    code: z.enum(PROBLEM_CODES),
    hint: z.string(),
    retryable: z.boolean(),
    expected: z.string().optional(),
    found: z.string().optional(),
    errors: z.array(FieldFaultDocument).optional(),
    requestId: z.string().optional(),
  })
  .meta({ id: 'Problem', description: 'RFC 9457 problem document' })
export type Problem = z.infer<typeof Problem>

/** The document for an error; `internal` when a code has no status of its own. */
export function formatProblem(error: ArtifactError, requestId?: string): Problem {
  const code = error.row.status === null ? 'internal' : error.code
  const { status, title, hint, retryable } = PROBLEMS[code]
  return {
    type: `urn:artifact:problem:${code}`,
    title,
    status: status ?? 500,
    detail: error.message,
    code,
    hint,
    retryable,
    ...(error.expected === undefined ? {} : { expected: error.expected }),
    ...(error.found === undefined ? {} : { found: error.found }),
    ...(error.errors === undefined ? {} : { errors: error.errors }),
    ...((requestId ?? error.requestId) === undefined
      ? {}
      : { requestId: requestId ?? error.requestId }),
  }
}

/** The inverse of {@link formatProblem}. */
export function parseProblem(
  problem: Problem,
  values: Pick<ProblemValues, 'retryAfterSeconds'> = {},
): ArtifactError {
  const { code, detail, expected, found, errors, requestId } = problem
  return new ArtifactError(code, detail, { expected, found, errors, requestId, ...values })
}
