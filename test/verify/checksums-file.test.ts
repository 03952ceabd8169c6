import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatChecksumLine, parseChecksumsFile } from '../../client/verify/checksums-file.ts'
import { EMPTY_SHA256, sha256Of } from '../../client/verify/digest.ts'

const name = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 30 })
  .filter((text) => text.isWellFormed())
const line = fc.record({ sha256: fc.constant(EMPTY_SHA256), name })

describe('formatChecksumLine()', () => {
  it('writes the example of its grammar', () => {
    expect(formatChecksumLine({ sha256: EMPTY_SHA256, name: 'logs/build.txt' })).toBe(
      `${EMPTY_SHA256}  logs/build.txt\n`,
    )
  })

  it('is read back as it was, whatever the name', () => {
    fc.assert(
      fc.property(fc.array(line), (lines) => {
        expect(parseChecksumsFile(lines.map(formatChecksumLine).join(''))).toEqual(lines)
      }),
    )
  })

  it('writes and reads what sha256sum writes and reads', () => {
    const folder = mkdtempSync(join(tmpdir(), 'artifact-sums-'))
    try {
      const names = ['plain', 'two words', 'back\\slash', 'new\nline', 'carriage\rreturn', '*star']
      for (const one of names) writeFileSync(join(folder, one), one)
      const theirs = execFileSync('sha256sum', ['--', ...names], { cwd: folder, encoding: 'utf8' })
      const lines = names.map((one) => ({ name: one, sha256: sha256Of(Buffer.from(one)) }))
      expect(parseChecksumsFile(theirs)).toEqual(lines)
      writeFileSync(join(folder, 'SUMS'), lines.map(formatChecksumLine).join(''))
      execFileSync('sha256sum', ['--strict', '-c', 'SUMS'], { cwd: folder })
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})

describe('parseChecksumsFile()', () => {
  it('reads binary mode, upper case, and a last line without its end', () => {
    expect(parseChecksumsFile(`${EMPTY_SHA256.toUpperCase()} *x`)).toEqual([
      { sha256: EMPTY_SHA256, name: 'x' },
    ])
  })

  it.each(['x', `${EMPTY_SHA256} x`, `${EMPTY_SHA256}  `, `\\${EMPTY_SHA256}  a\\b`])(
    'refuses %j and names the line',
    (text) => {
      expect(() => parseChecksumsFile(`${EMPTY_SHA256}  good\n${text}\n`)).toThrow(
        expect.objectContaining({ code: 'usage', message: expect.stringContaining('line 2') }),
      )
    },
  )
})
