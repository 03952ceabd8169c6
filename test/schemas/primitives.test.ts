import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  ArtifactName,
  ByteCount,
  ContentType,
  findNameFault,
  Labels,
  NAME_BYTES_MAX,
  RUN_MAX,
  RunNumber,
  Sha256,
  SIZE_BYTES_MAX,
  TaskName,
  UploadId,
} from '../../schemas/primitives.ts'
import { fillLabels } from '../support/labels.ts'

const accepts = (schema: { safeParse: (value: unknown) => { success: boolean } }, value: unknown) =>
  schema.safeParse(value).success

/** One character that the grammar of a segment allows. */
const segmentChar = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 1 })
  .filter((char) => !/[/\\\p{Cc}]/u.test(char))
const segment = fc
  .array(segmentChar, { minLength: 1, maxLength: 12 })
  .map((chars) => chars.join(''))
  .filter((text) => text !== '.' && text !== '..')
/** Names by the grammar, short enough. */
const name = fc
  .array(segment, { minLength: 1, maxLength: 6 })
  .map((segments) => segments.join('/'))
  .filter((text) => Buffer.byteLength(text) <= NAME_BYTES_MAX)

describe('ArtifactName', () => {
  it('accepts every name of the grammar', () => {
    fc.assert(fc.property(name, (text) => accepts(ArtifactName, text)))
  })

  it('accepts of any text only what the grammar derives', () => {
    const anyText = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 40 }),
      fc
        .array(fc.constantFrom('a', '/', '.', '..', '\\', '\0', '\u0085', ' ', 'é', '\ud800'), {
          maxLength: 12,
        })
        .map((parts) => parts.join('')),
    )
    const derives = (text: string) =>
      Buffer.byteLength(text) >= 1 &&
      Buffer.byteLength(text) <= NAME_BYTES_MAX &&
      text.isWellFormed() &&
      !/[\\\p{Cc}]/u.test(text) &&
      text.split('/').every((part) => !['', '.', '..'].includes(part))
    fc.assert(
      fc.property(anyText, (text) => accepts(ArtifactName, text) === derives(text)),
      { numRuns: 2000 },
    )
  })

  it('refuses each class of what a path could be abused for', () => {
    const faulty = [
      '',
      '/',
      '/a',
      'a/',
      'a//b',
      '.',
      '..',
      '../a',
      'a/../b',
      'a/./b',
      'a\\b',
      'a\0',
      'a\nb',
      'a\u007f',
      'a\u009b31m',
      '\ud800',
      'a/\udfff',
    ]
    expect(faulty.filter((text) => accepts(ArtifactName, text))).toEqual([])
  })

  it('accepts what only looks odd', () => {
    const odd = [
      '...',
      '.hidden',
      'a..b',
      'C:',
      'con',
      '-rf',
      ' ',
      '%2F',
      '~',
      'ü/日本/🧿',
      '\u00a0',
    ]
    expect(odd.filter((text) => !accepts(ArtifactName, text))).toEqual([])
  })

  it('measures the limit in bytes of UTF-8, not in characters', () => {
    expect(accepts(ArtifactName, 'a'.repeat(NAME_BYTES_MAX))).toBe(true)
    expect(accepts(ArtifactName, 'a'.repeat(NAME_BYTES_MAX + 1))).toBe(false)
    expect(accepts(ArtifactName, '🧿'.repeat(NAME_BYTES_MAX / 4))).toBe(true)
    expect(accepts(ArtifactName, `${'🧿'.repeat(NAME_BYTES_MAX / 4)}a`)).toBe(false)
  })

  it('says why', () => {
    expect(findNameFault('a//b')).toMatch(/empty segment/)
    expect(findNameFault('a'.repeat(600))).toBe('expected 1 to 512 bytes of UTF-8, found 600')
    expect(findNameFault('logs/build.txt')).toBeUndefined()
  })
})

describe('ByteCount', () => {
  it('keeps every digit of every size up to 2^63 - 1', () => {
    fc.assert(
      fc.property(
        fc.bigInt({ min: 0n, max: SIZE_BYTES_MAX }),
        (size) => BigInt(ByteCount.parse(JSON.parse(JSON.stringify(size.toString())))) === size,
      ),
    )
  })

  it('keeps apart neighbours that a JSON number would make equal', () => {
    const [low, high] = ['9007199254740992', '9007199254740993']
    expect(Number(low)).toBe(Number(high))
    expect(ByteCount.parse(low)).not.toBe(ByteCount.parse(high))
  })

  it('accepts the limit and refuses one more', () => {
    expect(accepts(ByteCount, SIZE_BYTES_MAX.toString())).toBe(true)
    expect(accepts(ByteCount, (SIZE_BYTES_MAX + 1n).toString())).toBe(false)
  })

  it('refuses every other spelling', () => {
    const faulty = [
      '',
      '-1',
      '+1',
      '01',
      '00',
      '1.0',
      '1e3',
      '0x10',
      ' 1',
      '1 ',
      '1\n',
      '١',
      '1'.repeat(5000),
      1,
      1n,
      null,
    ]
    expect(faulty.filter((value) => accepts(ByteCount, value))).toEqual([])
  })
})

describe('TaskName', () => {
  it('accepts of any text only what its grammar derives', () => {
    const text = fc.oneof(
      fc.string({ maxLength: 20 }),
      fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/),
    )
    fc.assert(
      fc.property(
        text,
        (task) => accepts(TaskName, task) === /^[a-z0-9][\w.-]{0,127}$/i.test(task),
      ),
    )
  })

  it('refuses what would not fit one segment of a reference', () => {
    const faulty = ['', '.', '..', '-a', '_a', 'a/b', 'a b', 'a\n', 'é', 'a'.repeat(129)]
    expect(faulty.filter((task) => accepts(TaskName, task))).toEqual([])
    expect(accepts(TaskName, 'a'.repeat(128))).toBe(true)
  })
})

describe('RunNumber', () => {
  it('accepts what the database holds, and nothing else', () => {
    expect([0, 1, RUN_MAX].every((run) => accepts(RunNumber, run))).toBe(true)
    const faulty = [-1, 0.5, RUN_MAX + 1, Number.NaN, Number.POSITIVE_INFINITY, '1', null]
    expect(faulty.filter((run) => accepts(RunNumber, run))).toEqual([])
  })
})

describe('Sha256', () => {
  it('accepts 64 lower-case digits alone', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (bytes) =>
        accepts(Sha256, Buffer.from(bytes).toString('hex')),
      ),
    )
    const digest = 'ab'.repeat(32)
    const faulty = [
      '',
      digest.slice(1),
      `${digest}a`,
      digest.toUpperCase(),
      `${digest}\n`,
      ` ${digest}`,
      digest.replace('a', 'g'),
    ]
    expect(faulty.filter((text) => accepts(Sha256, text))).toEqual([])
  })
})

describe('UploadId', () => {
  it('brings one spelling of an id into the record', () => {
    fc.assert(fc.property(fc.uuid(), (id) => UploadId.parse(id.toUpperCase()) === id.toLowerCase()))
  })
})

describe('ContentType', () => {
  it('refuses what would break out of a header', () => {
    const faulty = [
      '',
      'text',
      'text/',
      '/plain',
      'text/plain\r\nx: y',
      'text/plain; a=é',
      'text /plain',
      `a/${'b'.repeat(254)}`,
    ]
    expect(faulty.filter((text) => accepts(ContentType, text))).toEqual([])
    const usual = [
      'text/plain',
      'text/plain; charset=utf-8',
      'application/vnd.api+json',
      'application/octet-stream',
    ]
    expect(usual.filter((text) => !accepts(ContentType, text))).toEqual([])
  })
})

describe('Labels', () => {
  it('counts keys, and values in bytes', () => {
    const many = (count: number) =>
      Object.fromEntries(Array.from({ length: count }, (_, at) => [`k${at}`, 'v']))
    expect(accepts(Labels, many(32))).toBe(true)
    expect(accepts(Labels, many(33))).toBe(false)
    expect(accepts(Labels, { key: 'é'.repeat(512) })).toBe(true)
    expect(accepts(Labels, { key: 'é'.repeat(513) })).toBe(false)
  })

  it('takes as many bytes as the record holds, and not one more', () => {
    expect(accepts(Labels, fillLabels('"'.repeat(848)))).toBe(true)
    expect(accepts(Labels, fillLabels(`${'"'.repeat(848)}x`))).toBe(false)
    expect(accepts(Labels, {})).toBe(true)
  })

  it('refuses keys and values that Postgres or a terminal cannot hold', () => {
    const faulty = [
      { '': 'v' },
      { ' a': 'v' },
      { 'a b': 'v' },
      { ['a'.repeat(65)]: 'v' },
      { a: '\0' },
      { a: '\ud800' },
      { a: 1 },
      ['a'],
    ]
    expect(faulty.filter((labels) => accepts(Labels, labels))).toEqual([])
  })

  it('gives no key a way into the prototype', () => {
    const labels = Labels.safeParse(JSON.parse('{"__proto__": "x", "constructor": "y"}'))
    expect(labels.success ? Object.getPrototypeOf(labels.data) : Object.prototype).toBe(
      Object.prototype,
    )
  })
})
