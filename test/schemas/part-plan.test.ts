import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { PartLimits } from '../../schemas/part-plan.ts'
import {
  choosePartSize,
  countParts,
  DEFAULT_PART_LIMITS,
  planParts,
  rangeOfPart,
} from '../../schemas/part-plan.ts'
import { PARTS_MAX, SIZE_BYTES_MAX } from '../../schemas/primitives.ts'

const MIB = 1024n ** 2n
const TIB = 1024n ** 4n

/** Any size, with the small ones and those around the limits met often. */
const anySize = fc.oneof(
  fc.bigInt({ min: 0n, max: SIZE_BYTES_MAX }),
  fc.bigInt({ min: 0n, max: 64n * TIB }),
  fc.bigInt({ min: -3n, max: 3n }).map((near) => 8n * MIB * BigInt(PARTS_MAX) + near),
)
const limits: fc.Arbitrary<PartLimits> = fc.record({
  preferredBytes: fc.integer({ min: 1, max: 64 * 1024 ** 2 }),
  leastBytes: fc.integer({ min: 1, max: 64 * 1024 ** 2 }),
  unknownSizeBytes: fc.integer({ min: 1, max: 64 * 1024 ** 2 }),
  largestBytes: fc.integer({ min: 64 * 1024 ** 2, max: 5 * 1024 ** 3 }),
})

describe('choosePartSize()', () => {
  it('gives a part size within the limits that needs 10,000 parts at most, or none', () => {
    fc.assert(
      fc.property(anySize, limits, (size, limit) => {
        const partSize = choosePartSize(size, limit)
        if (partSize === undefined) return
        expect(partSize).toBeGreaterThanOrEqual(1)
        expect(partSize).toBeLessThanOrEqual(limit.largestBytes)
        expect(countParts(size, partSize)).toBeLessThanOrEqual(PARTS_MAX)
      }),
      { numRuns: 1000 },
    )
  })

  it('gives up only on what the largest parts cannot hold with a little room', () => {
    fc.assert(
      fc.property(anySize, limits, (size, limit) => {
        if (choosePartSize(size, limit) === undefined)
          expect(size).toBeGreaterThan((BigInt(limit.largestBytes) - MIB) * 9_500n)
      }),
      { numRuns: 1000 },
    )
  })

  it('holds the largest object of S3, and knows what is too large', () => {
    expect(choosePartSize(5n * TIB, DEFAULT_PART_LIMITS)).toBeDefined()
    expect(choosePartSize(SIZE_BYTES_MAX, DEFAULT_PART_LIMITS)).toBeUndefined()
  })

  it('keeps the preferred size while it suffices, and grows by whole MiB after that', () => {
    const edge = 8n * MIB * BigInt(PARTS_MAX)
    expect(choosePartSize(0n, DEFAULT_PART_LIMITS)).toBe(8 * 1024 ** 2)
    expect(choosePartSize(edge, DEFAULT_PART_LIMITS)).toBe(8 * 1024 ** 2)
    const next = choosePartSize(edge + 1n, DEFAULT_PART_LIMITS) ?? 0
    expect(next).toBeGreaterThan(8 * 1024 ** 2)
    expect(next % 1024 ** 2).toBe(0)
  })

  it.each([
    [8n * MIB, 8, 1],
    [8n * MIB + 1n, 5, 2],
    [64n * MIB, 5, 13],
    [160n * MIB, 5, 32],
    [160n * MIB + 1n, 6, 27],
    [224n * MIB, 7, 32],
    [256n * MIB, 8, 32],
    [1024n * MIB, 8, 128],
  ])(
    'cuts a modest artifact of %s bytes into parts of %s MiB, for streams side by side',
    (size, mib, count) => {
      const partSize = choosePartSize(size, DEFAULT_PART_LIMITS) ?? 0
      expect(partSize).toBe(mib * 1024 ** 2)
      expect(countParts(size, partSize)).toBe(count)
    },
  )

  it('cuts nothing smaller than is preferred into less', () => {
    const preferring = { ...DEFAULT_PART_LIMITS, preferredBytes: 1024 ** 2 }
    expect(choosePartSize(3n * MIB, preferring)).toBe(1024 ** 2)
  })

  it('has a size for what is not known beforehand', () => {
    expect(choosePartSize(undefined, DEFAULT_PART_LIMITS)).toBe(64 * 1024 ** 2)
  })
})

/** Sizes and part sizes that need no more than some parts, so that a plan can be laid out. */
const layout = fc
  .record({
    partSize: fc.integer({ min: 1, max: 5 * 1024 ** 3 }),
    count: fc.integer({ min: 0, max: 300 }),
    rest: fc.nat(),
  })
  .map(({ partSize, count, rest }) => ({
    partSize,
    size: BigInt(partSize) * BigInt(count) + BigInt(rest % partSize),
  }))

describe('planParts()', () => {
  it('tiles the size exactly: no gap, no overlap, no empty part', () => {
    fc.assert(
      fc.property(layout, ({ size, partSize }) => {
        let end = 0n
        planParts(size, partSize).forEach((part, index) => {
          expect(part.number).toBe(index + 1)
          expect(part.offset).toBe(end)
          expect(part.sizeBytes).toBeGreaterThan(0)
          expect(part.sizeBytes).toBeLessThanOrEqual(partSize)
          end += BigInt(part.sizeBytes)
        })
        expect(end).toBe(size)
      }),
    )
  })

  it('makes every part but the last equally large', () => {
    fc.assert(
      fc.property(layout, ({ size, partSize }) =>
        planParts(size, partSize)
          .slice(0, -1)
          .every((part) => part.sizeBytes === partSize),
      ),
    )
  })

  it('has no part for an empty artifact and one for the smallest', () => {
    expect(planParts(0n, 5)).toEqual([])
    expect(planParts(1n, 5)).toEqual([{ number: 1, offset: 0n, sizeBytes: 1 }])
  })

  it('ends in a short part, and in a full one when it divides', () => {
    expect(planParts(11n, 5).map(({ sizeBytes }) => sizeBytes)).toEqual([5, 5, 1])
    expect(planParts(10n, 5).map(({ sizeBytes }) => sizeBytes)).toEqual([5, 5])
  })
})

describe('rangeOfPart()', () => {
  it('keeps offsets above 2^53 exact', () => {
    const partSize = 5 * 1024 ** 3
    const size = BigInt(partSize) * 9_999n + 1n
    expect(rangeOfPart(size, partSize, 10_000)).toEqual({
      number: 10_000,
      offset: BigInt(partSize) * 9_999n,
      sizeBytes: 1,
    })
    expect(rangeOfPart(2n ** 53n + 2n, 2 ** 52, 3)).toEqual({
      number: 3,
      offset: 2n ** 53n,
      sizeBytes: 2,
    })
  })

  it('refuses a part that the artifact does not have', () => {
    for (const number of [0, -1, 4, 1.5, Number.NaN])
      expect(() => rangeOfPart(11n, 5, number)).toThrow(RangeError)
  })
})
