/** The check that a browser makes of a download, with the hash of Node in the place of the worker's. */
import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createStreamCheck, type Hasher } from '../../server/inspector/browser/stream-check.js'
import { makeContent, type TestContent } from '../support/upload.ts'

const createHasher = (): Hasher => {
  let hash = createHash('sha256')
  return {
    init() {
      hash = createHash('sha256')
    },
    update: (bytes) => hash.update(bytes),
    digest: () => hash.digest('hex'),
  }
}

const expectedOf = ({ sizeBytes, sha256, parts }: TestContent) => ({
  sizeBytes: Number(sizeBytes),
  sha256,
  parts,
})

/** The first refusal of bytes that arrive in chunks of these sizes, over and over. */
function check(content: TestContent, bytes: Uint8Array, chunks: readonly number[]) {
  const stream = createStreamCheck(expectedOf(content), createHasher)
  for (let offset = 0, turn = 0; offset < bytes.length; turn += 1) {
    const size = chunks[turn % chunks.length] ?? 1
    const refusal = stream.update(bytes.subarray(offset, offset + size))
    if (refusal !== undefined) return refusal
    offset += size
  }
  return stream.finish()
}

const content = makeContent(2500, 'a download', 1000)
const sizes = fc.array(fc.integer({ min: 1, max: 1200 }), { minLength: 1, maxLength: 5 })

describe('createStreamCheck()', () => {
  it('accepts the very bytes, however they are cut', () => {
    fc.assert(fc.property(sizes, (cuts) => check(content, content.bytes, cuts) === undefined))
  })

  it('refuses any flipped bit, and names the part', () => {
    fc.assert(
      fc.property(sizes, fc.integer({ min: 0, max: 2499 }), (cuts, at) => {
        const bytes = Buffer.from(content.bytes)
        bytes[at] = (bytes[at] ?? 0) ^ 1
        const refusal = check(content, bytes, cuts)
        expect(refusal).toMatchObject({ what: 'part', number: Math.floor(at / 1000) + 1 })
        expect(refusal?.found).not.toBe(refusal?.expected)
      }),
    )
  })

  it('refuses every beginning and every longer stream', () => {
    fc.assert(
      fc.property(sizes, fc.integer({ min: 0, max: 2499 }), (cuts, end) => {
        expect(check(content, content.bytes.subarray(0, end), cuts)?.what).toBe('size')
      }),
    )
    const longer = Buffer.concat([content.bytes, Buffer.from([0])])
    expect(check(content, longer, [700])?.what).toBe('size')
  })

  it('compares the whole when it is the only part, and when the parts agree', () => {
    const small = makeContent(10, 'small', 1000)
    expect(check(small, small.bytes, [3])).toBeUndefined()
    expect(check(small, Buffer.alloc(10), [3])).toMatchObject({
      what: 'whole',
      expected: small.sha256,
    })
    const other = { ...content, sha256: small.sha256 }
    expect(check(other, content.bytes, [1000])).toMatchObject({ found: content.sha256 })
  })

  it('accepts an empty artifact and refuses parts that do not add up', () => {
    const empty = makeContent(0, 'empty')
    expect(check(empty, empty.bytes, [1])).toBeUndefined()
    const short = { ...content, parts: content.parts.slice(0, 2) }
    expect(check(short, content.bytes, [1000])?.what).toBe('size')
  })
})
