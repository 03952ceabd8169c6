import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { cutIntoGroups } from '../../schemas/groups.ts'

const sum = (weights: readonly number[]) => weights.reduce((total, weight) => total + weight, 0)
const itself = (weight: number) => weight

describe('cutIntoGroups()', () => {
  it('keeps every item, the order and the limits, and cuts no sooner than it must', () => {
    const weights = fc.array(fc.nat(100))
    fc.assert(
      fc.property(weights, fc.nat(150), fc.integer({ min: 1, max: 7 }), (items, most, count) => {
        const groups = [...cutIntoGroups(items, itself, { weightMax: most, countMax: count })]
        expect(groups.flat()).toEqual(items)
        for (const [index, group] of groups.entries()) {
          expect(group.length).toBeGreaterThan(0)
          expect(group.length).toBeLessThanOrEqual(count)
          if (group.length > 1) expect(sum(group)).toBeLessThanOrEqual(most)
          const next = groups[index + 1]?.[0]
          if (next !== undefined && group.length < count)
            expect(sum(group) + next).toBeGreaterThan(most)
        }
      }),
    )
  })

  it('counts only weight where no number is given', () => {
    expect([...cutIntoGroups([1, 1, 1, 2, 9], itself, { weightMax: 4 })]).toEqual([
      [1, 1, 1],
      [2],
      [9],
    ])
  })
})
