import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { planGroups } from '../../client/transfer/group-plan.ts'

const USUAL = { weightMax: 2 * 1024 ** 2, atOnce: 4 }
const MIB = 1024 ** 2

describe('planGroups()', () => {
  it('keeps to what is usual on a fast network', () => {
    expect(planGroups(100 * MIB, USUAL, { isFar: false })).toEqual(USUAL)
  })

  it('puts as many as a far network can use side by side, none too small to be worth it', () => {
    expect(planGroups(12 * 100_000, USUAL, { isFar: true })).toEqual({
      weightMax: 100_000,
      atOnce: 12,
    })
    expect(planGroups(5, USUAL, { isFar: true }).weightMax).toBe(64 * 1024)
  })

  it('never exceeds the weight that one may have, nor what was chosen for those at once', () => {
    fc.assert(
      fc.property(
        fc.nat(),
        fc.boolean(),
        fc.integer({ min: 1, max: 64 }),
        (total, isFar, concurrency) => {
          const plan = planGroups(total, USUAL, { isFar, concurrency })
          expect(plan.weightMax).toBeLessThanOrEqual(USUAL.weightMax)
          expect(plan.atOnce).toBeLessThanOrEqual(concurrency)
          expect(plan.atOnce).toBeGreaterThan(0)
        },
      ),
    )
  })
})
