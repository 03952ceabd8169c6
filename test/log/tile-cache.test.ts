/** What a server keeps in memory of the tiles that it has checked. */
import { expect, it } from 'vitest'
import type { HashTile } from '../../client/verify/tile.ts'
import { createTileCache } from '../../server/log/tile-cache.ts'

const full = (level: number, index: number): HashTile => ({ level, index, width: 256 })
const bytesOf = ({ level, index, width }: HashTile) =>
  Uint8Array.of(level, index % 256, width % 256)
const keepAll = (tiles: HashTile[]) => {
  const cache = createTileCache()
  for (const tile of tiles) cache.keep(tile, bytesOf(tile))
  return cache
}

it('keeps full tiles above the leaves, and none of the leaves', () => {
  const cache = keepAll([full(0, 3), full(1, 3), full(2, 0)])
  expect(cache.find(full(0, 3))).toBeUndefined()
  for (const tile of [full(1, 3), full(2, 0)]) expect(cache.find(tile)).toEqual(bytesOf(tile))
  expect(cache.find(full(1, 4))).toBeUndefined()
})

it('keeps the last partial tile of each level, and gives it for its very width alone', () => {
  const [older, newer] = [3, 4].map((width) => ({ level: 0, index: 7, width }))
  const above = { level: 1, index: 0, width: 7 }
  if (older === undefined || newer === undefined) throw new Error('There are two')
  const cache = keepAll([older, above, newer])
  expect(cache.find(older)).toBeUndefined()
  expect(cache.find(newer)).toEqual(bytesOf(newer))
  expect(cache.find(above)).toEqual(bytesOf(above))
  expect(cache.find({ ...newer, width: 256 })).toBeUndefined()
})

it('keeps no more than 256 full ones, those that were used last', () => {
  const cache = keepAll(Array.from({ length: 256 }, (_, index) => full(1, index)))
  cache.find(full(1, 0))
  cache.keep(full(1, 256), bytesOf(full(1, 256)))
  expect(cache.find(full(1, 1))).toBeUndefined()
  for (const index of [0, 2, 255, 256]) expect(cache.find(full(1, index))).toBeDefined()
})

it('forgets all when it is told to', () => {
  const partial = { level: 1, index: 0, width: 7 }
  const cache = keepAll([full(1, 3), partial])
  cache.clear()
  for (const tile of [full(1, 3), partial]) expect(cache.find(tile)).toBeUndefined()
})
