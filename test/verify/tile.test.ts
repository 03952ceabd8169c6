import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { nodesOfRange } from '../../client/verify/merkle.ts'
import {
  formatEntries,
  formatTilePath,
  newTiles,
  parseEntries,
  parseTilePath,
  rightEdge,
  slotsOfNode,
  TILE_WIDTH,
  type Tile,
  tileWidth,
} from '../../client/verify/tile.ts'
import { mutateBytes } from '../support/log-keys.ts'

describe('formatTilePath()', () => {
  it.each<[string, Tile]>([
    ['tile/0/000', { level: 0, index: 0, width: 256 }],
    ['tile/0/x001/x234/067', { level: 0, index: 1_234_067, width: 256 }],
    ['tile/1/001.p/17', { level: 1, index: 1, width: 17 }],
    ['tile/63/999.p/1', { level: 63, index: 999, width: 1 }],
    ['tile/entries/273.p/112', { level: 'entries', index: 273, width: 112 }],
    ['tile/entries/x001/000', { level: 'entries', index: 1000, width: 256 }],
  ])('writes %s, which parseTilePath() reads', (path, tile) => {
    expect(formatTilePath(tile)).toBe(path)
    expect(parseTilePath(path)).toEqual(tile)
  })

  it('refuses a tile that cannot be', () => {
    for (const broken of [
      { level: 64, index: 0, width: 1 },
      { level: -1, index: 0, width: 1 },
      { level: 0.5, index: 0, width: 1 },
      { level: 0, index: -1, width: 1 },
      { level: 0, index: 2 ** 53, width: 1 },
      { level: 0, index: 0, width: 0 },
      { level: 0, index: 0, width: 257 },
    ])
      expect(() => formatTilePath(broken)).toThrow(RangeError)
  })
})

describe('parseTilePath()', () => {
  it.each([
    '',
    '/tile/0/000',
    'tile/0/000/',
    'tile/00/000',
    'tile/64/000',
    'tile/-1/000',
    'tile/0/0',
    'tile/0/0000',
    'tile/0/x000/000',
    'tile/0/x000/001',
    'tile/0/x001/1',
    'tile/0/001/002',
    'tile/0/x001',
    'tile/0/000.p/0',
    'tile/0/000.p/00',
    'tile/0/000.p/01',
    'tile/0/000.p/256',
    'tile/0/000.p/',
    'tile/0/000.p/-1',
    'tile/0/000.p/1/',
    'tile/0/000\n',
    'tile/0/../0/000',
    'tile/entries/0',
    'tile/Entries/000',
    'tile/0/x009/x007/x199/x254/x740/992',
  ])('refuses %j', (path) => {
    expect(parseTilePath(path)).toBeUndefined()
  })

  it('reads exactly what formatTilePath() writes', () => {
    const level = fc.oneof(fc.integer({ min: 0, max: 63 }), fc.constant('entries' as const))
    const tile = fc.record({
      level,
      index: fc.oneof(fc.maxSafeNat(), fc.nat(2000)),
      width: fc.integer({ min: 1, max: TILE_WIDTH }),
    })
    fc.assert(
      fc.property(tile, ({ level, ...at }) => {
        const one: Tile = level === 'entries' ? { level, ...at } : { level, ...at }
        expect(parseTilePath(formatTilePath(one))).toEqual(one)
      }),
    )
  })

  it('reads another tile, or none, when any byte differs', () => {
    const path = 'tile/0/x001/x234/067.p/17'
    for (const { mutant } of mutateBytes(Buffer.from(path))) {
      const text = Buffer.from(mutant).toString()
      const tile = parseTilePath(text)
      if (tile !== undefined) expect(formatTilePath(tile)).toBe(text)
    }
  })
})

describe('newTiles()', () => {
  it('has the tiles of the specification for 70,000 and for 256 leaves', () => {
    const tiles = newTiles(0, 70_000)
    const paths = tiles.map(formatTilePath)
    const full = (level: number) =>
      tiles.filter((tile) => tile.level === level && tile.width === TILE_WIDTH).length
    expect([full(0), full(1), full(2)]).toEqual([273, 1, 0])
    expect(paths.filter((path) => path.includes('.p/'))).toEqual([
      'tile/0/273.p/112',
      'tile/1/001.p/17',
      'tile/2/000.p/1',
      'tile/entries/273.p/112',
    ])
    expect(newTiles(0, 256).map(formatTilePath)).toEqual([
      'tile/0/000',
      'tile/1/000.p/1',
      'tile/entries/000',
    ])
    expect(newTiles(0, 0)).toEqual([])
  })

  it('gives what has grown, and nothing that has not', () => {
    expect(newTiles(70_000, 70_000)).toEqual([])
    expect(newTiles(70_000, 70_001).map(formatTilePath)).toEqual([
      'tile/0/273.p/113',
      'tile/entries/273.p/113',
    ])
    expect(newTiles(511, 512).map(formatTilePath)).toEqual([
      'tile/0/001',
      'tile/1/000.p/2',
      'tile/entries/001',
    ])
  })
})

describe('rightEdge()', () => {
  it('holds the largest complete subtrees, each exactly once, and nothing else', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (size) => {
        const held = new Map(rightEdge(size).map((tile) => [formatTilePath(tile), 0]))
        for (const node of nodesOfRange(0, size)) {
          const { tile, start, count } = slotsOfNode(node, size)
          const path = formatTilePath(tile)
          // In order and without a gap: what is there so far ends where this begins.
          expect(held.get(path)).toBe(start)
          held.set(path, start + count)
        }
        for (const tile of rightEdge(size)) {
          expect(tile.width).toBeLessThan(TILE_WIDTH)
          expect(tile.width).toBe(tileWidth(tile.level, tile.index, size))
          expect(held.get(formatTilePath(tile))).toBe(tile.width)
        }
      }),
    )
  })
})

describe('slotsOfNode()', () => {
  it('refuses a node that the tree does not have', () => {
    for (const node of [
      { height: 0, index: 7 },
      { height: 3, index: 0 },
      { height: 0, index: -1 },
      { height: 0, index: 0.5 },
    ])
      expect(() => slotsOfNode(node, 7)).toThrow(RangeError)
  })
})

describe('parseEntries()', () => {
  const entries = ['', 'a', 'bc', 'x'.repeat(300)].map((text) => Buffer.from(text))

  it('reads what formatEntries() writes', () => {
    const bytes = formatEntries(entries)
    expect(Buffer.from(bytes.subarray(0, 8)).toString('hex')).toBe('0000000161000262')
    expect(parseEntries(bytes, 4).map((one) => Buffer.from(one).toString())).toEqual(
      entries.map(String),
    )
    expect(formatEntries([])).toHaveLength(0)
    expect(formatEntries([Buffer.alloc(65_535, 1)])).toHaveLength(65_537)
  })

  it('refuses another count, a cut bundle and anything after it', () => {
    const bytes = formatEntries(entries)
    const malformed = expect.objectContaining({ code: 'log_malformed' })
    for (const width of [0, 3, 5]) expect(() => parseEntries(bytes, width)).toThrow(malformed)
    for (let end = 0; end < bytes.length; end += 1)
      expect(() => parseEntries(bytes.subarray(0, end), 4)).toThrow(malformed)
    expect(() => parseEntries(Buffer.concat([bytes, Buffer.of(0)]), 4)).toThrow(malformed)
  })

  it('reads other entries, or none, when any byte differs', () => {
    const bytes = Buffer.from(formatEntries(entries))
    for (const { mutant } of mutateBytes(bytes)) {
      try {
        expect(Buffer.from(formatEntries(parseEntries(mutant, 4)))).toEqual(Buffer.from(mutant))
      } catch (error) {
        expect(error).toMatchObject({ code: 'log_malformed' })
      }
    }
  })
})

describe('formatEntries()', () => {
  it('refuses an entry above 65,535 bytes, and more than 256', () => {
    expect(() => formatEntries([Buffer.alloc(65_536)])).toThrow(RangeError)
    expect(() => formatEntries(Array.from({ length: 257 }, () => Buffer.of()))).toThrow(RangeError)
  })
})
