import { describe, expect, it } from 'vitest'
import {
  type ContentDigest,
  createContentHasher,
  EMPTY_SHA256,
} from '../../client/verify/digest.ts'
import {
  CHECKS,
  type ContentClaim,
  verifyContent,
  verifyWhole,
} from '../../client/verify/verifier.ts'

const PART = 4

function digestOf(text: string): ContentDigest {
  const hasher = createContentHasher(PART)
  hasher.update(Buffer.from(text))
  return hasher.finish()
}

function claimOf(text: string): ContentClaim {
  const { sha256, sizeBytes, parts } = digestOf(text)
  return {
    record: {
      reference: 't/0/n',
      sha256,
      sizeBytes: String(sizeBytes),
      partSizeBytes: PART,
      partCount: parts.length,
    },
    parts,
  }
}

const flip = (hex: string, digit: number) =>
  hex.slice(0, digit) + (hex[digit] === '0' ? '1' : '0') + hex.slice(digit + 1)

describe('verifyContent()', () => {
  it.each(['', 'a', 'abcd', 'abcdefgh', 'abcdefghi'])('accepts %j as itself', (text) => {
    expect(verifyContent(claimOf(text), digestOf(text))).toEqual(CHECKS)
  })

  it('names the checks in the order in which they are made', () => {
    expect(CHECKS).toEqual(['record', 'size', 'parts', 'sha256'])
  })

  it.each([
    ['abcdefghi', 'abcdefgh', 'size_mismatch'],
    ['abcdefghi', 'abcdefghij', 'size_mismatch'],
    ['abcdefghi', 'abcdEfghi', 'part_mismatch'],
    ['abcdefghi', 'efghabcdi', 'part_mismatch'],
  ])('refuses for %j the bytes %j', (text, other, code) => {
    expect(() => verifyContent(claimOf(text), digestOf(other))).toThrow(
      expect.objectContaining({ code, expected: expect.any(String), found: expect.any(String) }),
    )
  })

  it('refuses a record in which any digit of any digest differs', () => {
    const honest = claimOf('abcdefghi')
    const found = digestOf('abcdefghi')
    for (let digit = 0; digit < 64; digit++) {
      const record = { ...honest.record, sha256: flip(honest.record.sha256, digit) }
      expect(() => verifyContent({ ...honest, record }, found)).toThrow(
        expect.objectContaining({ code: 'digest_mismatch' }),
      )
      for (const [index, part] of honest.parts.entries()) {
        const parts = honest.parts.with(index, { ...part, sha256: flip(part.sha256, digit) })
        expect(() => verifyContent({ ...honest, parts }, found)).toThrow(
          expect.objectContaining({
            code: 'part_mismatch',
            message: expect.stringContaining(`part ${index + 1}`),
          }),
        )
      }
    }
  })

  it('refuses a record that disagrees with itself', () => {
    const honest = claimOf('abcdefghi')
    const { record, parts } = honest
    const [one, two, three] = parts
    if (one === undefined || two === undefined || three === undefined) throw new Error('3 parts')
    const lies: ContentClaim[] = [
      { record, parts: [one, two] },
      { record, parts: [one, three, two] },
      { record, parts: [one, one, three] },
      { record, parts: [one, two, three, three] },
      { record, parts: [one, two, { ...three, sizeBytes: 2 }] },
      { record: { ...record, partCount: 2 }, parts },
      { record: { ...record, sizeBytes: '8' }, parts },
      { record: { ...record, sizeBytes: '13' }, parts },
      { record: { ...record, partSizeBytes: 5 }, parts },
      { record: { ...claimOf('abc').record, sha256: EMPTY_SHA256 }, parts: claimOf('abc').parts },
      { record: { ...claimOf('').record, sha256: record.sha256 }, parts: [] },
    ]
    for (const lie of lies)
      expect(() => verifyContent(lie, digestOf('abcdefghi'))).toThrow(
        expect.objectContaining({ code: 'bad_reply' }),
      )
  })
})

describe('verifyWhole()', () => {
  const wholeOf = (text: string) => ({ ...digestOf(text), parts: [] })

  it('accepts the bytes without a digest of any part, and names what was checked', () => {
    expect(verifyWhole(claimOf('abcdefghi'), wholeOf('abcdefghi'))).toEqual([
      'record',
      'size',
      'sha256',
    ])
  })

  it.each([
    ['abcdefgh', 'size_mismatch'],
    ['abcdEfghi', 'digest_mismatch'],
    ['efghabcdi', 'digest_mismatch'],
  ])('refuses other bytes: %j', (other, code) => {
    expect(() => verifyWhole(claimOf('abcdefghi'), wholeOf(other))).toThrow(
      expect.objectContaining({ code, expected: expect.any(String), found: expect.any(String) }),
    )
  })

  it('refuses a record that disagrees with itself', () => {
    const honest = claimOf('abcdefghi')
    const claim = { ...honest, parts: honest.parts.slice(1) }
    expect(() => verifyWhole(claim, wholeOf('abcdefghi'))).toThrow(
      expect.objectContaining({ code: 'bad_reply' }),
    )
  })
})
