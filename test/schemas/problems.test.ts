import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatProblem, Problem, parseProblem } from '../../schemas/problem-document.ts'
import type { ProblemCode } from '../../schemas/problems.ts'
import { ArtifactError, EXITS, PROBLEM_CODES, PROBLEMS } from '../../schemas/problems.ts'

const codes = PROBLEM_CODES.map((code) => [code, PROBLEMS[code]] as const)
const onTheWire = codes.filter(([, row]) => row.status !== null).map(([code]) => code)

describe('PROBLEMS', () => {
  it('names codes in snake case', () => {
    expect(PROBLEM_CODES.filter((code) => !/^[a-z]+(_[a-z]+)*$/.test(code))).toEqual([])
  })

  it('answers with an error status of HTTP, or with none', () => {
    const isStatus = (status: number | null) => status === null || (status >= 400 && status <= 599)
    expect(codes.filter(([, row]) => !isStatus(row.status))).toEqual([])
  })

  it('exits with a code of the table, never with success', () => {
    const exits: number[] = Object.values(EXITS)
    expect(codes.filter(([, row]) => row.exit === 0 || !exits.includes(row.exit))).toEqual([])
    expect(new Set(exits).size).toBe(exits.length)
  })

  it('says in words what it is and what to do', () => {
    const isSentence = (text: string) => /^[A-Z"].*[.)]$/.test(text)
    expect(codes.filter(([, { title }]) => title === '' || title.endsWith('.'))).toEqual([])
    expect(codes.filter(([, { hint }]) => !isSentence(hint))).toEqual([])
  })

  it('retries neither an integrity failure nor a conflict nor a refusal', () => {
    const settled: number[] = [
      EXITS.integrity,
      EXITS.conflict,
      EXITS.refused,
      EXITS.notFound,
      EXITS.usage,
    ]
    expect(codes.filter(([, row]) => row.retryable && settled.includes(row.exit))).toEqual([])
  })

  it('gives each status to codes that agree on whose fault it is', () => {
    const faults = codes.filter(
      ([, { status, retryable }]) => retryable && status !== null && status < 403,
    )
    expect(faults).toEqual([])
  })

  it('can provoke every exit code but success, interruption by TERM included by the signal alone', () => {
    const provoked = new Set(codes.map(([, row]) => row.exit))
    const absent = Object.entries(EXITS).filter(([, exit]) => !provoked.has(exit))
    expect(absent.map(([name]) => name)).toEqual(['done', 'terminated'])
  })
})

const text = fc.string({ unit: 'grapheme', maxLength: 60 })
const values = fc.record(
  {
    expected: text,
    found: text,
    requestId: fc.uuid(),
    errors: fc.array(fc.record({ field: text, expected: text, found: text }), { maxLength: 3 }),
  },
  { requiredKeys: [] },
)

describe('formatProblem()', () => {
  it('writes a document that its own schema accepts, for every code', () => {
    for (const code of PROBLEM_CODES) {
      const problem = Problem.parse(formatProblem(new ArtifactError(code, 'Cannot do it: no')))
      expect(problem.type).toBe(`urn:artifact:problem:${problem.code}`)
      expect(problem.status).toBe(PROBLEMS[problem.code].status)
    }
  })

  it('is undone by parseProblem() for every code that crosses the wire', () => {
    const code = fc.constantFrom<ProblemCode[]>(...onTheWire)
    fc.assert(
      fc.property(code, text, values, (which, message, extra) => {
        const sent = new ArtifactError(which, message, extra)
        const wire: unknown = JSON.parse(JSON.stringify(formatProblem(sent)))
        const got = parseProblem(Problem.parse(wire), { retryAfterSeconds: 3 })
        expect(got).toMatchObject({ code: which, message, retryAfterSeconds: 3 })
        for (const key of ['expected', 'found', 'errors', 'requestId'] as const)
          expect(got[key]).toEqual(sent[key])
      }),
    )
  })

  it('hides what only a client or an operator meets behind the failure of the server', () => {
    const local = codes.filter(([, row]) => row.status === null).map(([code]) => code)
    expect(local.length).toBeGreaterThan(0)
    for (const code of local)
      expect(formatProblem(new ArtifactError(code, 'Cannot do it: no'))).toMatchObject({
        code: 'internal',
        status: 500,
      })
  })

  it('never sends the cause', () => {
    const cause = new Error('password=hunter2')
    const problem = formatProblem(new ArtifactError('internal', 'Cannot do it: no', { cause }))
    expect(JSON.stringify(problem)).not.toContain('hunter2')
  })

  it('takes the request id of the request before that of the error', () => {
    const error = new ArtifactError('internal', 'Cannot do it: no', { requestId: 'old' })
    expect(formatProblem(error, 'new').requestId).toBe('new')
    expect(formatProblem(error).requestId).toBe('old')
  })
})
