import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { RUN_MAX } from '../../schemas/primitives.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { Reference } from '../../schemas/reference.ts'
import { formatReference, parseReference } from '../../schemas/reference.ts'

const task = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,30}$/)
const run = fc.oneof(fc.constant('latest' as const), fc.integer({ min: 0, max: RUN_MAX }))
const name = fc
  .array(fc.stringMatching(/^[A-Za-z0-9 é🧿~%:-]{1,10}$/u), { minLength: 1, maxLength: 5 })
  .map((segments) => segments.join('/'))
const reference: fc.Arbitrary<Reference> = fc.oneof(
  fc.record({ task }),
  fc.record({ task, run }),
  fc.record({ task, run, name }),
)

function findFault(text: string): unknown {
  try {
    parseReference(text)
    return undefined
  } catch (error) {
    return error
  }
}

describe('parseReference()', () => {
  it('reads the examples of its grammar', () => {
    expect(parseReference('turtle-db/latest/db.dump')).toEqual({
      task: 'turtle-db',
      run: 'latest',
      name: 'db.dump',
    })
    expect(parseReference('turtle-db/7')).toEqual({ task: 'turtle-db', run: 7 })
    expect(parseReference('turtle-db')).toEqual({ task: 'turtle-db' })
  })

  it('gives back what formatReference() wrote', () => {
    fc.assert(
      fc.property(reference, (value) => {
        expect(parseReference(formatReference(value))).toEqual(value)
      }),
    )
  })

  it('reads one text for one reference', () => {
    const text = fc.oneof(fc.string({ maxLength: 30 }), reference.map(formatReference))
    fc.assert(
      fc.property(text, (written) => {
        if (findFault(written) === undefined)
          expect(formatReference(parseReference(written))).toBe(written)
      }),
      { numRuns: 1000 },
    )
  })

  it('keeps the slashes of the name', () => {
    expect(parseReference('t/0/logs/a/b.txt').name).toBe('logs/a/b.txt')
  })

  it('refuses what it cannot read, as a usage error that shows the text', () => {
    const faulty = [
      '',
      '/',
      'a/',
      'a/x',
      'a/-1',
      'a/01',
      'a/1.0',
      `a/${RUN_MAX + 1}`,
      'a/1/',
      'a/1//b',
      'a/1/../b',
      'a/Latest/b',
      '-a/1',
      'a/1/b\\c',
    ]
    for (const text of faulty) {
      const fault = findFault(text)
      expect(fault).toBeInstanceOf(ArtifactError)
      expect(fault).toMatchObject({ code: 'usage', found: text, expected: 'TASK[/RUN[/NAME]]' })
    }
  })

  it('throws nothing but usage errors, whatever is typed', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (text) => {
        const fault = findFault(text)
        return fault === undefined || (fault instanceof ArtifactError && fault.code === 'usage')
      }),
    )
  })
})
