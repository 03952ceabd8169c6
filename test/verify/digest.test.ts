import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createContentHasher, EMPTY_SHA256, sha256Of } from '../../client/verify/digest.ts'

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

/** Bytes, a part size, and the places where they are cut into chunks. */
const cut = fc.record({
  bytes: fc.uint8Array({ maxLength: 300 }),
  partSizeBytes: fc.integer({ min: 1, max: 120 }),
  cuts: fc.array(fc.nat(300), { maxLength: 12 }),
})

function chunksOf(bytes: Uint8Array, cuts: readonly number[]): Uint8Array[] {
  const places = [0, ...cuts.map((at) => Math.min(at, bytes.length)), bytes.length]
  places.sort((one, other) => one - other)
  return places.slice(1).map((end, index) => bytes.subarray(places[index], end))
}

describe('createContentHasher()', () => {
  it('agrees with hashing every part and the whole apart, however the bytes come', () => {
    fc.assert(
      fc.property(cut, ({ bytes, partSizeBytes, cuts }) => {
        const hasher = createContentHasher(partSizeBytes)
        for (const chunk of chunksOf(bytes, cuts)) hasher.update(chunk)
        const found = hasher.finish()
        expect(found.sha256).toBe(sha256(bytes))
        expect(found.sizeBytes).toBe(BigInt(bytes.length))
        const expected = []
        for (let at = 0; at < bytes.length; at += partSizeBytes) {
          const part = bytes.subarray(at, at + partSizeBytes)
          expected.push({
            number: expected.length + 1,
            sizeBytes: part.length,
            sha256: sha256(part),
          })
        }
        expect(found.parts).toEqual(expected)
      }),
    )
  })

  it('goes back to where it was forked', () => {
    fc.assert(
      fc.property(
        cut,
        fc.uint8Array({ maxLength: 200 }),
        ({ bytes, partSizeBytes, cuts }, junk) => {
          const [first = bytes, ...rest] = chunksOf(bytes, cuts)
          const hasher = createContentHasher(partSizeBytes)
          hasher.update(first)
          const fork = hasher.fork()
          fork.update(junk)
          fork.finish()
          for (const chunk of rest) hasher.update(chunk)
          expect(hasher.finish().sha256).toBe(sha256(bytes))
        },
      ),
    )
  })

  it('takes parts whose digests are known as it takes their bytes', () => {
    const parts = [Buffer.alloc(5, 1), Buffer.alloc(5, 2), Buffer.alloc(3, 3)]
    const [one, other] = [createContentHasher(5), createContentHasher(5)]
    for (const part of parts) {
      one.update(part)
      other.updatePart(part, sha256Of(part))
    }
    expect(other.finish()).toEqual(one.finish())
    const torn = createContentHasher(5)
    torn.update(Buffer.alloc(1))
    expect(() => torn.updatePart(Buffer.alloc(5), '')).toThrow('in the middle')
  })

  it('knows the digest of nothing', () => {
    expect(createContentHasher(1).finish()).toEqual({
      sizeBytes: 0n,
      sha256: EMPTY_SHA256,
      parts: [],
    })
  })
})
