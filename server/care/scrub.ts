/**
 * The signer looks at new leaves only, so a row that is altered long after is for the scrubber to
 * find: it hashes leaves again, compares them with the tree, and the records that are served with
 * their leaves.
 */

import { checkLeaf, parseLeaf } from '../../client/verify/leaf.ts'
import { hashLeaf, isSameHash } from '../../client/verify/merkle.ts'
import { TILE_WIDTH } from '../../client/verify/tile.ts'
import { rootOfTile } from '../../client/verify/tile-reader.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { Clock } from '../clock.ts'
import { findArtifact, findParts } from '../records/artifacts.ts'
import type { AnySql } from '../records/database.ts'
import { type LeafRow, readHashes, readHead, readLeaves } from '../records/log.ts'
import { findStaleTile, saveScrub } from '../records/scrub.ts'

/**
 * Looks at the tile that waits longest, and records what it found; nothing happens while the log is
 * empty. Returns the faults, in words.
 */
export async function scrubNext(sql: AnySql, clock: Clock): Promise<string[]> {
  const tiles = Math.ceil((await readHead(sql)).size / TILE_WIDTH)
  if (tiles === 0) return []
  const tile = await findStaleTile(sql, tiles)
  const { leaves, faults } = await scrubTile(sql, tile)
  await saveScrub(sql, tile, { at: clock(), leaves, faults })
  return faults
}

/**
 * Checks the leaves of one tile: every leaf against its hash, the hashes against the node above (of a
 * full tile), every record against its leaf. Returns what it found, in words, and how
 * many leaves there were.
 */
export async function scrubTile(
  sql: AnySql,
  index: number,
): Promise<{ leaves: number; faults: string[] }> {
  const start = index * TILE_WIDTH
  const rows = await readLeaves(sql, start, start + TILE_WIDTH)
  const faults: string[] = []
  for (const row of rows) {
    if (!isSameHash(hashLeaf(row.leaf), row.leafHash))
      faults.push(`leaf ${row.idx} does not have its hash`)
    const fault = await findRecordFault(sql, row)
    if (fault !== undefined) faults.push(`leaf ${row.idx}: ${fault}`)
  }
  const [node] = await readHashes(sql, 1, index, index + 1)
  const hashes = Buffer.concat(rows.map(({ leaf }) => hashLeaf(leaf)))
  if (node !== undefined && (rows.length < TILE_WIDTH || !isSameHash(rootOfTile(hashes), node)))
    faults.push(`tile ${index} does not have its root`)
  return { leaves: rows.length, faults }
}

async function findRecordFault(sql: AnySql, row: LeafRow): Promise<string | undefined> {
  try {
    const leaf = parseLeaf(row.leaf)
    if (leaf.kind !== 'seal') return undefined
    const stored = await findArtifact(sql, row.task, row.run, row.name)
    if (stored === undefined) return 'its record is gone'
    checkLeaf(leaf, stored.artifact, (await findParts(sql, stored.artifact)) ?? [])
    return undefined
  } catch (error) {
    if (error instanceof ArtifactError)
      return `${error.message}, expected ${error.expected}, found ${error.found}`
    throw error
  }
}
