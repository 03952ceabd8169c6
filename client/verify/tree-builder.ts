/**
 * A tree that is built from its leaves alone, and the tiles that a server has to show of it. Of a
 * tree of any size it keeps no more than its partial tiles.
 *
 * As JSON, for a tree of two leaves: `{"size":2,"levels":["<both leaf hashes, in Base 64>"]}`.
 */
import { ArtifactError } from '../../schemas/problems.ts'
import { foldHashes, HASH_BYTES, type Hash, isSize, nodesOfRange, type TreeHead } from './merkle.ts'
import { formatBase64, parseBase64 } from './strict-text.ts'
import { type HashTile, slotsOfNode, TILE_WIDTH } from './tile.ts'
import { rootOfTile } from './tile-reader.ts'

/** A tile as it has to be. */
export interface BuiltTile {
  tile: HashTile
  bytes: Uint8Array
}

/** What is stored of a tree: its partial tiles from level 0 on, in Base 64. */
export interface TreeState {
  size: number
  levels: string[]
}

export interface TreeBuilder {
  readonly size: number
  /** Adds a leaf; gives the tiles that it fills, lowest level first. */
  append(leafHash: Hash): BuiltTile[]
  head(): TreeHead
  /** The partial tiles. */
  edge(): BuiltTile[]
  toJSON(): TreeState
}

/** A tree of no leaves. */
export function createTreeBuilder(): TreeBuilder {
  return builderOf(0, [])
}

/** The inverse of {@link TreeBuilder.toJSON}; throws `log_malformed` when hashes are missing. */
export function parseTree({ size, levels }: TreeState): TreeBuilder {
  const hashes = levels.map((text) => splitHashes(parseBase64(text) ?? new Uint8Array(1)))
  const isWhole =
    isSize(size) &&
    levels.length <= 7 &&
    Math.floor(size / TILE_WIDTH ** levels.length) === 0 &&
    hashes.every(
      (level, at) =>
        level.length === Math.floor(size / TILE_WIDTH ** at) % TILE_WIDTH &&
        level.every(({ length }) => length === HASH_BYTES),
    )
  if (isWhole) return builderOf(size, hashes)
  throw new ArtifactError('log_malformed', 'Cannot restore the tree: it does not fit its size', {
    expected: `the partial tiles of ${size} leaves`,
    found: `${levels.length} levels`,
  })
}

function builderOf(startSize: number, levels: Hash[][]): TreeBuilder {
  let size = startSize

  const push = (level: number, hash: Hash): BuiltTile[] => {
    const tile = levels[level] ?? []
    levels[level] = tile
    tile.push(hash)
    if (tile.length < TILE_WIDTH) return []
    const bytes = Buffer.concat(tile)
    levels[level] = []
    const index = Math.floor(size / TILE_WIDTH ** (level + 1))
    return [
      { tile: { level, index, width: TILE_WIDTH }, bytes },
      ...push(level + 1, rootOfTile(bytes)),
    ]
  }

  const root = (): Hash =>
    foldHashes(
      nodesOfRange(0, size).map((node) => {
        const { tile, start, count } = slotsOfNode(node, size)
        return rootOfTile(Buffer.concat((levels[tile.level] ?? []).slice(start, start + count)))
      }),
    )

  return {
    get size() {
      return size
    },
    append(leafHash) {
      if (leafHash.length !== HASH_BYTES || !isSize(size + 1))
        throw new RangeError(`Cannot append leaf ${size}: its hash has ${leafHash.length} bytes`)
      const filled = push(0, leafHash)
      size += 1
      return filled
    },
    head: () => ({ size, root: root() }),
    edge: () =>
      levels.flatMap((hashes, level) => {
        const index = Math.floor(size / TILE_WIDTH ** (level + 1))
        const tile = { level, index, width: hashes.length }
        return hashes.length === 0 ? [] : [{ tile, bytes: Buffer.concat(hashes) }]
      }),
    toJSON: () => ({ size, levels: levels.map((hashes) => formatBase64(Buffer.concat(hashes))) }),
  }
}

function splitHashes(bytes: Uint8Array): Hash[] {
  return Array.from({ length: Math.ceil(bytes.length / HASH_BYTES) }, (_, at) =>
    Uint8Array.from(bytes.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES)),
  )
}
