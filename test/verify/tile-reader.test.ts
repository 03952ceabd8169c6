import { describe, expect, it } from 'vitest'
import { hashLeaf, proveConsistency, proveInclusion, readRoot } from '../../client/verify/merkle.ts'
import { formatTilePath, parseTilePath } from '../../client/verify/tile.ts'
import { createTileReader, type TileSource } from '../../client/verify/tile-reader.ts'
import { LOG_SIGNER } from '../support/log-keys.ts'
import {
  numberedLeaves,
  referenceConsistency,
  referenceInclusion,
  referenceRoot,
} from '../support/reference-tree.ts'
import { buildStaticLog, type StaticLog, serveTiles } from '../support/static-log.ts'

const entriesOf = (size: number) =>
  Array.from({ length: size }, (_, index) => Buffer.from(String(index)))

/** Three levels of tiles, as in the specification. */
const LARGE = 70_000
const large = buildStaticLog(entriesOf(LARGE), LOG_SIGNER)

/** Serves a log, and remembers which tiles were asked for and which were vouched for. */
function watchTiles(log: StaticLog) {
  const fetched: string[] = []
  const kept: string[] = []
  const source: TileSource = {
    fetchTile: (tile) => {
      fetched.push(formatTilePath(tile))
      return serveTiles(log.files).fetchTile(tile)
    },
    keepTile: (tile) => void kept.push(formatTilePath(tile)),
  }
  return { fetched, kept, source }
}

describe('createTileReader()', () => {
  it.each([1, 2, 255, 256, 257, 511, 512, 513, 1000])(
    'proves from the tiles of %i leaves',
    async (size) => {
      const log = buildStaticLog(entriesOf(size), LOG_SIGNER)
      const leaves = numberedLeaves(size)
      expect(log.head.root).toEqual(referenceRoot(leaves))
      const readHashes = createTileReader(log.head, serveTiles(log.files))
      for (const index of new Set([0, size >> 1, size - 1]))
        expect(await proveInclusion(index, size, readHashes)).toEqual(
          referenceInclusion(index, leaves),
        )
      for (const oldSize of new Set([1, Math.ceil(size / 3), Math.ceil(size / 2), size]))
        expect(await proveConsistency(oldSize, size, readHashes)).toEqual(
          referenceConsistency(oldSize, leaves),
        )
      expect(await readRoot(size >> 1, readHashes)).toEqual(
        referenceRoot(leaves.slice(0, size >> 1)),
      )
    },
  )

  it('reads a log of three levels, and fetches each tile once', async () => {
    const log = large
    const { source, fetched, kept } = watchTiles(log)
    const readHashes = createTileReader(log.head, source)
    const leaf = 1234
    await expect(readHashes([{ height: 0, index: leaf }])).resolves.toEqual([
      hashLeaf(Buffer.from(String(leaf))),
    ])
    await proveInclusion(leaf, LARGE, readHashes)
    const expected = [
      'tile/0/004',
      'tile/0/273.p/112',
      'tile/1/000',
      'tile/1/001.p/17',
      'tile/2/000.p/1',
    ]
    expect(fetched.toSorted()).toEqual(expected)
    expect(kept.toSorted()).toEqual(expected)
  })

  it('reads nothing of a log without leaves', async () => {
    const log = buildStaticLog([], LOG_SIGNER)
    const readHashes = createTileReader(log.head, serveTiles(log.files))
    expect(await readRoot(0, readHashes)).toEqual(log.head.root)
    await expect(readHashes([{ height: 0, index: 0 }])).rejects.toThrow(RangeError)
  })

  it('refuses a changed byte in any tile that it reads', async () => {
    const size = LARGE
    const log = large
    const { source, fetched } = watchTiles(log)
    await proveInclusion(1234, size, createTileReader(log.head, source))
    let refused = 0
    for (const path of fetched) {
      const good = log.files.get(path) ?? new Uint8Array()
      for (let at = 0; at < good.length; at += 1) {
        // A wide tile is changed in a part of its bytes: its hashes are all alike.
        if (good.length > 1000 && at % 37 !== 0) continue
        const bad = Uint8Array.from(good)
        bad[at] = (bad[at] ?? 0) ^ (1 << (at % 8))
        const kept: string[] = []
        const readHashes = createTileReader(log.head, {
          fetchTile: (tile) =>
            formatTilePath(tile) === path
              ? Promise.resolve(bad)
              : serveTiles(log.files).fetchTile(tile),
          keepTile: (tile) => void kept.push(formatTilePath(tile)),
        })
        await expect(proveInclusion(1234, size, readHashes)).rejects.toMatchObject({
          code: 'log_inclusion',
        })
        expect(kept).not.toContain(path)
        refused += 1
      }
    }
    expect(refused).toBeGreaterThan(1000)
  })

  it('refuses a tile that was rewritten together with its parent, or with all of them', async () => {
    const log = large
    const forged = buildStaticLog(entriesOf(LARGE).with(1234, Buffer.from('forged')), LOG_SIGNER)
    const paths = ['tile/0/004', 'tile/1/000', 'tile/2/000.p/1']
    for (let subset = 1; subset < 8; subset += 1) {
      const files = new Map(log.files)
      for (const [at, path] of paths.entries())
        if ((subset & (1 << at)) !== 0) files.set(path, forged.files.get(path) ?? new Uint8Array())
      const readHashes = createTileReader(log.head, serveTiles(files))
      await expect(proveInclusion(1234, LARGE, readHashes)).rejects.toMatchObject({
        code: 'log_inclusion',
      })
    }
  })

  it('refuses a tile of another length before it hashes it', async () => {
    const log = buildStaticLog(entriesOf(300), LOG_SIGNER)
    for (const path of ['tile/0/000', 'tile/0/001.p/44', 'tile/1/000.p/1'])
      for (const change of [-32, -1, 1, 32]) {
        const good = log.files.get(path) ?? new Uint8Array()
        const bad =
          change < 0 ? good.subarray(0, change) : Buffer.concat([good, Buffer.alloc(change)])
        const files = new Map(log.files).set(path, bad)
        await expect(
          proveInclusion(3, 300, createTileReader(log.head, serveTiles(files))),
        ).rejects.toMatchObject({ code: 'log_malformed' })
      }
  })

  it('lets a tile that is missing be a failure, and forgets it', async () => {
    const log = buildStaticLog(entriesOf(300), LOG_SIGNER)
    let isDown = true
    const readHashes = createTileReader(log.head, {
      fetchTile: async (tile) => {
        if (isDown) throw new Error('down')
        return serveTiles(log.files).fetchTile(tile)
      },
    })
    await expect(proveInclusion(3, 300, readHashes)).rejects.toThrow('down')
    isDown = false
    await expect(proveInclusion(3, 300, readHashes)).resolves.toHaveLength(9)
  })

  it('refuses the tiles of another log, and of the same log at another size', async () => {
    const log = buildStaticLog(entriesOf(300), LOG_SIGNER)
    const other = buildStaticLog(entriesOf(300).reverse(), LOG_SIGNER)
    const readHashes = createTileReader(log.head, serveTiles(other.files))
    await expect(proveInclusion(3, 300, readHashes)).rejects.toMatchObject({
      code: 'log_inclusion',
    })
    const longer = createTileReader({ ...log.head, size: 301 }, serveTiles(log.files))
    await expect(proveInclusion(3, 301, longer)).rejects.toThrow('no tile/0/001.p/45')
  })

  it('names only tiles that parseTilePath() reads', () => {
    const { files } = buildStaticLog(entriesOf(600), LOG_SIGNER)
    for (const path of files.keys())
      if (path !== 'checkpoint') expect(parseTilePath(path)).toBeDefined()
  })
})
