import { describe, expect, it } from 'vitest'
import { PROBLEM_CODES, PROBLEMS } from '../../schemas/problems.ts'

describe('PROBLEMS', () => {
  it('names codes in snake case', () => {
    for (const code of PROBLEM_CODES) expect(code).toMatch(/^[a-z]+(_[a-z]+)*$/)
    expect(Object.keys(PROBLEMS)).not.toHaveLength(0)
  })
})
