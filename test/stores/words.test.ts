/** The small words of the stores: addresses, ranges, file names, journals, errors of the disk. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ArtifactError } from '../../schemas/problems.ts'
import { formatContentRange, parseRange } from '../../server/stores/byte-range.ts'
import { formatDisposition } from '../../server/stores/disposition.ts'
import { onDisk } from '../../server/stores/files.ts'
import { formatStoreAddress, parseStoreAddress } from '../../server/stores/open-store.ts'
import { formatJournalRecord, parseJournal } from '../../server/stores/part-journal.ts'

describe('parseStoreAddress()', () => {
  it.each([
    ['file:data', { kind: 'filesystem', folder: 'data' }],
    ['file:/srv/a b', { kind: 'filesystem', folder: '/srv/a b' }],
    ['file:///srv/a%20b', { kind: 'filesystem', folder: '/srv/a b' }],
    ['s3://bucket', { kind: 's3', bucket: 'bucket', prefix: '' }],
    ['s3://bucket/', { kind: 's3', bucket: 'bucket', prefix: '' }],
    ['s3://my.bucket-1/a/b_c', { kind: 's3', bucket: 'my.bucket-1', prefix: 'a/b_c' }],
  ])('takes %s', (text, address) => {
    expect(parseStoreAddress(text)).toEqual(address)
  })

  it.each([
    '',
    'data',
    'file:',
    'file://host/share%2',
    's3:bucket',
    's3://',
    's3://B',
    's3://bucket//a',
    's3://bucket/../a',
    's3://bucket/a b',
    's3://user:secret@bucket/a',
    'http://bucket/a',
  ])('refuses %j', (text) => {
    expect(() => parseStoreAddress(text)).toThrow(ArtifactError)
  })

  it.each(['file:data', 's3://bucket', 's3://bucket/a/b'])('writes %s as it was read', (text) => {
    expect(formatStoreAddress(parseStoreAddress(text))).toBe(text)
  })
})

describe('parseRange()', () => {
  it.each([
    [undefined, undefined],
    ['bytes=0-4', { start: 0n, end: 5n }],
    ['bytes=5-', { start: 5n, end: 10n }],
    ['bytes=9-9', { start: 9n, end: 10n }],
    ['bytes=0-100', { start: 0n, end: 10n }],
    ['bytes=-3', { start: 7n, end: 10n }],
    ['bytes=-100', { start: 0n, end: 10n }],
    ['bytes=-0', 'unsatisfiable'],
    ['bytes=10-', 'unsatisfiable'],
    ['bytes=10-12', 'unsatisfiable'],
    ['bytes=4-2', undefined],
    ['bytes=0-1,3-4', undefined],
    ['bytes=-', undefined],
    ['items=0-1', undefined],
    ['bytes=a-b', undefined],
  ])('reads %s of ten bytes', (header, range) => {
    expect(parseRange(header, 10n)).toEqual(range)
  })

  it('stays within the object and is exact beyond 2^53', () => {
    fc.assert(
      fc.property(fc.bigInt(0n, 2n ** 62n), fc.bigInt(1n, 2n ** 62n), (first, sizeBytes) => {
        const range = parseRange(`bytes=${first}-`, sizeBytes)
        if (first >= sizeBytes) expect(range).toBe('unsatisfiable')
        else expect(range).toEqual({ start: first, end: sizeBytes })
      }),
    )
    expect(formatContentRange({ start: 2n ** 60n, end: 2n ** 60n + 1n }, 2n ** 61n)).toBe(
      'bytes 1152921504606846976-1152921504606846976/2305843009213693952',
    )
  })

  it('finds nothing to read in an empty object', () => {
    expect(parseRange('bytes=0-', 0n)).toBe('unsatisfiable')
    expect(parseRange('bytes=-1', 0n)).toBe('unsatisfiable')
  })
})

describe('formatDisposition()', () => {
  it.each([
    ['naïve.txt', `attachment; filename="na_ve.txt"; filename*=UTF-8''na%C3%AFve.txt`],
    ['a"b\\c.txt', `attachment; filename="a_b_c.txt"; filename*=UTF-8''a%22b%5Cc.txt`],
    [
      `it's (1)*.txt`,
      `attachment; filename="it's (1)*.txt"; filename*=UTF-8''it%27s%20%281%29%2A.txt`,
    ],
    ['😀', `attachment; filename="_"; filename*=UTF-8''%F0%9F%98%80`],
  ])('writes %s', (name, header) => {
    expect(formatDisposition(name)).toBe(header)
  })

  it('is one line of ASCII whatever the name is', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (name) => {
        expect(formatDisposition(name)).toMatch(
          /^attachment; filename="[\x20\x21\x23-\x7e]*"; filename\*=UTF-8''[A-Za-z0-9%._~-]*$/,
        )
      }),
    )
  })
})

describe('parseJournal()', () => {
  const parts = [1, 2, 10_000].map((number) => ({
    number,
    sizeBytes: number * 7,
    sha256: String(number % 10).repeat(64),
  }))
  const journal = parts.map(formatJournalRecord).join('')

  it('reads what was written, as in the example of the format', () => {
    expect([...parseJournal(journal).values()]).toEqual(parts)
    const digest = '9f'.repeat(32)
    expect(formatJournalRecord({ number: 3, sizeBytes: 16_777_216, sha256: digest })).toBe(
      `\n3 16777216 ${digest}\n`,
    )
  })

  it('drops the record that a crash tore, at every byte, and no other', () => {
    for (let length = 0; length <= journal.length; length += 1) {
      const torn = parseJournal(journal.slice(0, length))
      const whole = parts.filter((_, index) => {
        const end = parts
          .slice(0, index + 1)
          .map(formatJournalRecord)
          .join('').length
        return end <= length
      })
      expect([...torn.values()]).toEqual(whole)
      // What comes after it is not spoiled.
      const after = parseJournal(
        `${journal.slice(0, length)}${formatJournalRecord({ number: 4, sizeBytes: 1, sha256: 'f'.repeat(64) })}`,
      )
      expect(after.get(4)).toEqual({ number: 4, sizeBytes: 1, sha256: 'f'.repeat(64) })
    }
  })

  it('takes zeros and noise, as a power cut leaves them, for nothing', () => {
    expect(parseJournal('\0'.repeat(100)).size).toBe(0)
    expect(parseJournal(`\n1 0 ${'a'.repeat(64)}\n`).size).toBe(0)
    expect(parseJournal(`\n1 5 ${'A'.repeat(64)}\n`).size).toBe(0)
  })
})

describe('onDisk()', () => {
  const failing = (code: string) => async () => {
    throw Object.assign(new Error('it failed'), { code })
  }

  it.each([
    ['ENOSPC', 'storage_full'],
    ['EDQUOT', 'storage_full'],
    ['EIO', 'store_unavailable'],
    ['EROFS', 'store_unavailable'],
    ['EACCES', 'store_unavailable'],
  ])('names %s %s', async (code, problem) => {
    await expect(onDisk('write', failing(code))).rejects.toMatchObject({
      code: problem,
      found: code,
    })
  })

  it('passes other errors', async () => {
    await expect(onDisk('write', failing('ERR_INVALID_ARG_TYPE'))).rejects.toMatchObject({
      code: 'ERR_INVALID_ARG_TYPE',
    })
  })
})
