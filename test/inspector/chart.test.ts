/** What jumps out of a row of sizes. */
import { describe, expect, it } from 'vitest'
import { describeDeparture, median } from '../../server/inspector/chart.ts'

describe('median()', () => {
  it.each([
    [[], 0],
    [[5], 5],
    [[1, 9], 5],
    [[9, 1, 2], 2],
    [[4, 1, 3, 2], 2.5],
  ])('of %j is %d', (values, expected) => {
    expect(median(values)).toBe(expected)
  })
})

describe('describeDeparture()', () => {
  it.each([
    [50, '50 % less than usual'],
    [66, '34 % less than usual'],
    [67, undefined],
    [100, undefined],
    [133, undefined],
    [134, '34 % more than usual'],
    [350, '3.5 times the usual'],
    [4200, '42 times the usual'],
    [0, '100 % less than usual'],
  ])('calls %d after three of 100 %j', (value, expected) => {
    expect(describeDeparture(value, [100, 100, 100])).toBe(expected)
  })

  it('says nothing before it knows what is usual', () => {
    expect(describeDeparture(1, [100, 100])).toBeUndefined()
  })

  it('is not led astray by one odd run before', () => {
    expect(describeDeparture(50, [100, 100, 10_000, 100])).toBe('50 % less than usual')
  })

  it('tells something from nothing', () => {
    expect(describeDeparture(0, [0, 0, 0])).toBeUndefined()
    expect(describeDeparture(1, [0, 0, 0])).toBe('more than nothing, which is usual')
  })
})
