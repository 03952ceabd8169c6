import { describe, expect, it } from 'vitest'
import { createLanes, type Lanes } from '../../client/transfer/lanes.ts'

const never = new AbortController().signal

/** Starts as many as have room, and holds them. */
function fill(lanes: Lanes, count: number) {
  const held: { crowded: () => void; end: () => void }[] = []
  const all = Array.from({ length: count }, () =>
    lanes.run(never, (crowded) => new Promise<void>((end) => void held.push({ crowded, end }))),
  )
  return { held, all }
}

const soon = () => new Promise<void>((resolve) => setImmediate(resolve))

describe('createLanes()', () => {
  it('lets so many run at once, and the next when one ends', async () => {
    const { held, all } = fill(createLanes(3), 4)
    await soon()
    expect(held).toHaveLength(3)
    held[0]?.end()
    await all[0]
    await soon()
    expect(held).toHaveLength(4)
  })

  it('has half as many when it is told that there are too many, once for all under way', async () => {
    const lanes = createLanes(8)
    const { held } = fill(lanes, 12)
    await soon()
    for (const { crowded } of held) crowded()
    expect(lanes.total).toBe(4)
    for (const { end } of held.slice(0, 4)) end()
    await soon()
    // Four of eight are left, and those that wait have no room.
    expect(held).toHaveLength(8)
    for (const { end } of held.slice(4)) end()
    await soon()
    expect(held).toHaveLength(12)
  })

  it('halves again for a request that began after the last time, and never to none', async () => {
    const lanes = createLanes(4)
    for (const expected of [2, 1, 1])
      await lanes.run(never, async (crowded) => {
        await soon()
        crowded()
        expect(lanes.total).toBe(expected)
      })
  })

  it('has one more with every round that goes well, up to what there were', async () => {
    const lanes = createLanes(4)
    await lanes.run(never, async (crowded) => crowded())
    const totals: number[] = []
    for (let count = 0; count < 12; count++) {
      await lanes.run(never, async () => undefined)
      totals.push(lanes.total)
    }
    expect(totals).toEqual([2, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4])
  })

  it('gives the lane back when the act fails', async () => {
    const lanes = createLanes(1)
    const failing = lanes.run(never, async () => {
      throw new Error('as told')
    })
    await expect(failing).rejects.toThrow('as told')
    expect(await lanes.run(never, async () => 'next')).toBe('next')
  })
})
