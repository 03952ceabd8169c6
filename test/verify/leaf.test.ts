import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  checkLeaf,
  checkLeafRecord,
  digestParts,
  formatLabels,
  formatLeaf,
  type Leaf,
  leafOfArtifact,
  parseLeaf,
  parseSealLeaf,
} from '../../client/verify/leaf.ts'
import { hashLeaf } from '../../client/verify/merkle.ts'
import type { Artifact } from '../../schemas/artifact.ts'
import { ArtifactName, ContentType } from '../../schemas/primitives.ts'
import { mutateBytes } from '../support/log-keys.ts'

const ABC = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
const EXAMPLE = `artifact-log/v1 seal
name turtle-db/7/db.dump
sha256 ${ABC}
size 3
parts 16777216 4f8b42c22dd3729b519ba6f68d2da7cc5b2d606d05daed5ad5128cc03e6c6358
type application/octet-stream
labels e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
policy reread
time 2026-11-21T22:16:58.123Z
by 3f2c8f0e-5d1b-4c55-9a83-0f3f6f1f2a10
`
const REVOKED = `artifact-log/v1 revoke
name turtle-db/7/logs/ünï.txt
of 41
reason built with a stolen key
time 2026-11-22T00:00:00.000Z
by server
`
const artifact: Artifact = {
  task: 'turtle-db',
  run: 7,
  name: 'db.dump',
  reference: 'turtle-db/7/db.dump',
  sha256: ABC,
  sizeBytes: '3',
  partSizeBytes: 16_777_216,
  partCount: 1,
  contentType: 'application/octet-stream',
  labels: {},
  policy: 'reread',
  uploadId: '0f8fad5b-d9cb-469f-a165-70867728950e',
  openedAt: '2026-11-21T22:16:57.000Z',
  sealedAt: '2026-11-21T22:16:58.123Z',
  sealedBy: { tokenId: '3f2c8f0e-5d1b-4c55-9a83-0f3f6f1f2a10', tokenName: 'ci' },
}
const parts = [{ sha256: ABC }]
const code = (value: string) => expect.objectContaining({ code: value })

describe('formatLeaf()', () => {
  it('writes the example of its documentation', () => {
    const bytes = formatLeaf(leafOfArtifact(artifact, parts))
    expect(Buffer.from(bytes).toString()).toBe(EXAMPLE)
    // By sha256sum, over a zero byte and the text.
    expect(Buffer.from(hashLeaf(bytes)).toString('hex')).toBe(
      'a708a16e8411e7d3148b44b68e0aea725fa1479b2ac4a385430bc08cf551675a',
    )
  })

  it('writes a removal', () => {
    const leaf: Leaf = {
      kind: 'revoke',
      name: 'turtle-db/7/logs/ünï.txt',
      of: 41,
      reason: 'built with a stolen key',
      time: '2026-11-22T00:00:00.000Z',
      by: 'server',
    }
    expect(Buffer.from(formatLeaf(leaf)).toString()).toBe(REVOKED)
  })

  it('refuses a value that would be another line, or that it could not read back', () => {
    const leaf = leafOfArtifact(artifact, parts)
    for (const broken of [
      { name: 'turtle-db/7/a\nsha256 00' },
      { name: 'turtle-db/7' },
      { name: 'turtle-db/07/db.dump' },
      { name: 'turtle-db/2147483648/db.dump' },
      { contentType: 'text/plain\n;\nx' },
      { sha256: ABC.toUpperCase() },
      { sizeBytes: '03' },
      { sizeBytes: '9223372036854775808' },
      { partSizeBytes: 0 },
      { partSizeBytes: 1.5 },
      { time: '2026-11-21T22:16:58Z' },
      { time: '2026-02-30T22:16:58.123Z' },
      { by: 'server' },
      { by: '3F2C8F0E-5D1B-4C55-9A83-0F3F6F1F2A10' },
    ])
      expect(() => formatLeaf({ ...leaf, ...broken })).toThrow(code('log_record'))
    const removal = {
      kind: 'remove' as const,
      name: leaf.name,
      of: 0,
      reason: 'old',
      time: leaf.time,
    }
    for (const broken of [
      { reason: '' },
      { reason: 'a\nb' },
      { reason: 'x'.repeat(513) },
      { of: -1 },
      { of: 0.5 },
      { by: 'root' },
    ])
      expect(() => formatLeaf({ ...removal, by: 'server', ...broken })).toThrow(code('log_record'))
  })
})

const hex = fc.stringMatching(/^[0-9a-f]{64}$/)
const task = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,20}$/)
const artifactName = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 40 })
  .filter((name) => ArtifactName.safeParse(name).success)
const name = fc
  .tuple(task, fc.integer({ min: 0, max: 2_147_483_647 }), artifactName)
  .map((all) => all.join('/'))
const time = fc
  .date({ min: new Date(0), max: new Date('9999-12-31T23:59:59.999Z'), noInvalidDate: true })
  .map((date) => date.toISOString())
const by = fc.uuid()
const anyLeaf: fc.Arbitrary<Leaf> = fc.oneof(
  fc.record({
    kind: fc.constant('seal' as const),
    name,
    sha256: hex,
    sizeBytes: fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }).map(String),
    partSizeBytes: fc.integer({ min: 1, max: 5 * 1024 ** 3 }),
    partsSha256: hex,
    contentType: fc.constantFrom('text/plain', 'text/html; charset=utf-8', 'a/b;x="y z"'),
    labelsSha256: hex,
    policy: fc.constantFrom('reread' as const, 'parts' as const),
    time,
    by,
  }),
  fc.record({
    kind: fc.constantFrom('remove' as const, 'revoke' as const),
    name,
    of: fc.maxSafeNat(),
    reason: fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 60 })
      .filter((text) => !/\p{Cc}/u.test(text) && text.isWellFormed()),
    time,
    by: fc.oneof(by, fc.constant('server')),
  }),
)

describe('parseLeaf()', () => {
  it('is undone by formatLeaf(), and undoes it', () => {
    fc.assert(
      fc.property(anyLeaf, (leaf) => {
        const bytes = formatLeaf(leaf)
        expect(parseLeaf(bytes)).toEqual(leaf)
        expect(formatLeaf(parseLeaf(bytes))).toEqual(bytes)
      }),
      { numRuns: 500 },
    )
  })

  it('reads another leaf, or none, when any byte differs', () => {
    let unread = 0
    for (const text of [EXAMPLE, REVOKED])
      for (const { mutant } of mutateBytes(Buffer.from(text))) {
        try {
          // Whatever is accepted has exactly these bytes: nothing is passed over.
          expect(Buffer.from(formatLeaf(parseLeaf(mutant)))).toEqual(Buffer.from(mutant))
          expect(Buffer.from(mutant).toString()).not.toBe(text)
        } catch (error) {
          expect(error).toMatchObject({ code: 'log_malformed' })
          unread += 1
        }
      }
    expect(unread).toBeGreaterThan(2000)
  })

  it.each([
    '',
    EXAMPLE.slice(0, -1),
    `${EXAMPLE}\n`,
    ` ${EXAMPLE}`,
    `\uFEFF${EXAMPLE}`,
    EXAMPLE.replaceAll('\n', '\r\n'),
    EXAMPLE.replace('v1', 'v2'),
    EXAMPLE.replace('seal', 'put'),
    EXAMPLE.replace('size 3\n', ''),
    EXAMPLE.replace('size 3\n', 'size 3\nsize 3\n'),
    EXAMPLE.replace('reread', 'none'),
    `${EXAMPLE}${REVOKED}`,
  ])('refuses %j', (text) => {
    expect(() => parseLeaf(Buffer.from(text))).toThrow(code('log_malformed'))
  })

  it('refuses bytes that are not UTF-8', () => {
    expect(() => parseLeaf(Buffer.from(EXAMPLE.replace('db.dump', 'é'), 'latin1'))).toThrow(
      code('log_malformed'),
    )
  })
})

describe('parseSealLeaf()', () => {
  it('takes no removal for a seal', () => {
    expect(parseSealLeaf(Buffer.from(EXAMPLE)).name).toBe('turtle-db/7/db.dump')
    expect(() => parseSealLeaf(Buffer.from(REVOKED))).toThrow(code('log_record'))
  })
})

describe('checkLeaf()', () => {
  const leaf = parseLeaf(Buffer.from(EXAMPLE))

  it('accepts the record that was logged', () => {
    checkLeaf(leaf, artifact, parts)
  })

  it.each<[string, Partial<Artifact>]>([
    ['name', { task: 'turtle' }],
    ['name', { run: 8 }],
    ['name', { name: 'db.dumP' }],
    ['reference', { reference: 'turtle-db/8/db.dump' }],
    ['sha256', { sha256: ABC.replace('b', 'c') }],
    ['size', { sizeBytes: '4' }],
    ['part size', { partSizeBytes: 16_777_217 }],
    ['type', { contentType: 'text/html' }],
    ['labels', { labels: { a: 'b' } }],
    ['policy', { policy: 'parts' }],
    ['time', { sealedAt: '2026-11-21T22:16:58.124Z' }],
    ['token', { sealedBy: { tokenId: artifact.uploadId, tokenName: 'ci' } }],
  ])('refuses another %s', (fact, change) => {
    const refused = expect.objectContaining({
      code: 'log_record',
      message: expect.stringContaining(`the ${fact} of`),
    })
    expect(() => checkLeaf(leaf, { ...artifact, ...change }, parts)).toThrow(refused)
    expect(() => checkLeafRecord(leaf, { ...artifact, ...change })).toThrow(refused)
  })

  it('refuses other part digests, with both values', () => {
    const found = digestParts([...parts, ...parts])
    expect(() => checkLeaf(leaf, artifact, [...parts, ...parts])).toThrow(
      expect.objectContaining({ code: 'log_record', expected: digestParts(parts), found }),
    )
  })

  it('refuses the leaf of a removal', () => {
    expect(() => checkLeaf(parseLeaf(Buffer.from(REVOKED)), artifact, parts)).toThrow(
      code('log_record'),
    )
  })
})

describe('formatLabels()', () => {
  it('orders keys by their bytes, and ends each key and value by a NUL', () => {
    const bytes = formatLabels({ b: '2', a: 'ü\n', 10: '', B: 'x', 9: 'y' })
    expect(Buffer.from(bytes).toString()).toBe('10\0\x009\0y\0B\0x\0a\0ü\n\0b\x002\0')
    expect(formatLabels({})).toHaveLength(0)
  })

  it('gives other bytes for other labels', () => {
    const key = fc.stringMatching(/^[a-c][0-9./]{0,2}$/)
    const labels = fc.dictionary(key, fc.stringMatching(/^[a-c=,\n]{0,3}$/), { maxKeys: 3 })
    const sorted = (of: Record<string, string>) =>
      JSON.stringify(Object.entries(of).sort(([one], [other]) => (one < other ? -1 : 1)))
    fc.assert(
      fc.property(labels, labels, (one, other) => {
        const isSame = Buffer.compare(formatLabels(one), formatLabels(other)) === 0
        expect(isSame).toBe(sorted(one) === sorted(other))
      }),
      { numRuns: 2000 },
    )
  })
})

describe('ContentType', () => {
  it('takes no line end: it would be a line of its own in a leaf', () => {
    for (const type of ['text/plain\n;\nx', 'text/plain;\nx', 'text/plain \r\n; x', 'a/b\n'])
      expect(ContentType.safeParse(type).success).toBe(false)
    expect(ContentType.safeParse('text/html; charset=utf-8').success).toBe(true)
  })
})
