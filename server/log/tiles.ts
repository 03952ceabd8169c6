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
import type { Artifact } from '../../schemas/artifact.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { AnySql } from '../records/database.ts'
import { findLeaves, type LeafRow, readHead, readLeaves, readTileHashes } from '../records/log.ts'
import type { Heads, SignedHead } from './heads.ts'
import type { TileCache } from './tile-cache.ts'

/**
 * The bytes of a tile; `undefined` when the signed tree does not have it. A tail that is not signed
 * yet is not shown: a failover could lose it, and caches keep tiles for ever. Only its entries are,
 * to those who may read all of them and keep no copy: a witness reads them before it cosigns.
 */
export async function readTile(
  sql: AnySql,
  head: SignedHead,
  tile: Tile,
): Promise<Uint8Array | undefined> {
  const { level, index, width } = tile
  const widest =
    level === 'entries'
      ? entryWidth(index, (await readHead(sql)).size)
      : tileWidth(level, index, head.size)
  if (width > widest) return undefined
  const start = index * TILE_WIDTH
  if (level === 'entries') {
    const rows = await readLeaves(sql, start, start + width)
    return formatEntries(rows.map((row) => row.leaf))
  }
  return readTileHashes(sql, level, start, start + width)
}

/**
 * The receipt of a sealed artifact, as soon as a signed head covers it. `undefined` when nobody
 * signs here. Throws `receipt_pending` when that takes longer than `patienceMs`.
 */
export async function findReceipt(
  sql: AnySql,
  heads: Heads,
  artifact: Pick<Artifact, 'task' | 'run' | 'name'>,
  patienceMs: number,
): Promise<string | undefined> {
  const [leaf] = await findLeaves(sql, artifact)
  if (leaf === undefined || heads.newest() === undefined) return undefined
  const head = await heads.waitFor(leaf.idx + 1, patienceMs)
  if (head !== undefined) return createReceiptMaker(sql, head, heads.tiles)(leaf)
  throw new ArtifactError(
    'receipt_pending',
    `Cannot prove ${artifact.task}/${artifact.run}/${artifact.name} yet: it is not signed`,
  )
}

/**
 * Makes receipts of leaves under a head that covers them. Every tile on the way is checked against the
 * signed root, once for all of them, also those from the cache: tables that were altered give no
 * receipt at all. The function throws `log_inclusion`.
 */
export function createReceiptMaker(
  sql: AnySql,
  head: SignedHead,
  cache: TileCache,
): (row: LeafRow) => Promise<string> {
  const readNodes = createTileReader(head, {
    async fetchTile(tile) {
      const bytes = cache.find(tile) ?? (await readTile(sql, head, tile))
      if (bytes !== undefined) return bytes
      throw new ArtifactError('log_missing', `Cannot read tile ${tile.level}/${tile.index}`)
    },
    keepTile: cache.keep,
  })
  return async (row) => {
    try {
      const proof = await proveInclusion(row.idx, head.size, readNodes)
      return formatReceipt({ extra: row.leaf, index: row.idx, proof, checkpoint: head.note })
    } catch (error) {
      // Whatever is wrong, the next receipt asks the tables.
      cache.clear()
      throw error
    }
  }
}
