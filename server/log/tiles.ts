/** Tiles, entries and receipts, from the rows of the log, up to what is signed and no further. */
import { proveInclusion } from '../../client/verify/merkle.ts'
import { formatReceipt } from '../../client/verify/proof.ts'
import {
  entryWidth,
  formatEntries,
  TILE_WIDTH,
  type Tile,
  tileWidth,
} from '../../client/verify/tile.ts'
import { createTileReader } from '../../client/verify/tile-reader.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { AnySql } from '../records/database.ts'
import { type LeafRow, readHashes, readLeaves } from '../records/log.ts'
import type { SignedHead } from './heads.ts'

/**
 * The bytes of a tile; `undefined` when the signed tree does not have it. A tail that is not signed
 * yet is not shown: a failover could lose it, and caches keep tiles for ever.
 */
export async function readTile(
  sql: AnySql,
  head: SignedHead,
  tile: Tile,
): Promise<Uint8Array | undefined> {
  const { level, index, width } = tile
  const widest =
    level === 'entries' ? entryWidth(index, head.size) : tileWidth(level, index, head.size)
  if (width > widest) return undefined
  const start = index * TILE_WIDTH
  if (level === 'entries') {
    const rows = await readLeaves(sql, start, start + width)
    return formatEntries(rows.map((row) => row.leaf))
  }
  return Buffer.concat(await readHashes(sql, level, start, start + width))
}

/**
 * The receipt of a leaf under a head that covers it. Every tile on the way is checked against the
 * signed root: a server whose tables were altered gives no receipt at all. Throws `log_inclusion`.
 */
export async function makeReceipt(sql: AnySql, head: SignedHead, row: LeafRow): Promise<string> {
  const readNodes = createTileReader(head, {
    async fetchTile(tile) {
      const bytes = await readTile(sql, head, tile)
      if (bytes !== undefined) return bytes
      throw new ArtifactError('log_missing', `Cannot read tile ${tile.level}/${tile.index}`)
    },
  })
  const proof = await proveInclusion(row.idx, head.size, readNodes)
  return formatReceipt({ extra: row.leaf, index: row.idx, proof, checkpoint: head.note })
}
