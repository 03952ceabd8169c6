import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  formatBytes,
  formatDuration,
  formatElapsed,
  formatJson,
  formatTable,
  sanitise,
  wrap,
} from '../../client/terminal-format.ts'

describe('formatBytes()', () => {
  it.each([
    [0n, '0 B'],
    [1023n, '1023 B'],
    [1024n, '1.0 KiB'],
    [1536n, '1.5 KiB'],
    [1024n ** 2n, '1.0 MiB'],
    [126_234_624n, '120.4 MiB'],
    [5n * 1024n ** 3n, '5.0 GiB'],
    [2n ** 63n - 1n, '8.0 EiB'],
  ])('shows %i as %s', (bytes, shown) => {
    expect(formatBytes(bytes)).toBe(shown)
  })
})

describe('formatDuration()', () => {
  it.each([
    [0, '0 s'],
    [0.2, '1 s'],
    [59, '59 s'],
    [60, '1 min 0 s'],
    [3599.5, '1 h 0 min'],
    [7620, '2 h 7 min'],
    [200_000, '2 d 7 h'],
  ])('shows %d seconds as %s', (seconds, shown) => {
    expect(formatDuration(seconds)).toBe(shown)
  })
})

describe('formatElapsed()', () => {
  it('shows tenths below ten seconds', () => {
    expect(formatElapsed(432)).toBe('0.4 s')
    expect(formatElapsed(61_000)).toBe('1 min 1 s')
  })
})

describe('sanitise()', () => {
  it('leaves no character that a terminal acts upon', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(sanitise(text)).not.toMatch(/[\p{Cc}\u202a-\u202e\u2066-\u2069]/u)
      }),
    )
  })

  it('leaves ordinary text as it is, in any script', () => {
    expect(sanitise('logs/größe-日本語 😀.txt')).toBe('logs/größe-日本語 😀.txt')
  })
})

describe('formatJson()', () => {
  it('stays the same value on one line', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const line = formatJson(value)
        expect(line).not.toMatch(/[\n\u009b]/)
        expect(JSON.parse(line)).toEqual(JSON.parse(JSON.stringify(value)))
      }),
    )
  })

  it('writes big sizes as decimal strings', () => {
    expect(formatJson({ bytes: 2n ** 63n - 1n })).toBe('{"bytes":"9223372036854775807"}')
  })
})

describe('formatTable()', () => {
  it('lines up columns', () => {
    const rows = [
      ['a', 'size'],
      ['long', '1'],
    ]
    expect(formatTable(rows, [1])).toEqual(['a     size', 'long     1'])
  })
})

describe('wrap()', () => {
  it('keeps every word and the width', () => {
    const word = fc.stringMatching(/^[a-z]{1,12}$/)
    fc.assert(
      fc.property(
        fc.array(word, { minLength: 1 }),
        fc.integer({ min: 16, max: 80 }),
        (words, width) => {
          const lines = wrap(words.join(' '), width, 2)
          expect(lines.every((line) => line.length <= width)).toBe(true)
          expect(lines.join(' ').split(/\s+/).filter(Boolean)).toEqual(words)
        },
      ),
    )
  })
})
