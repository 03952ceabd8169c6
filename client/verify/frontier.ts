/**
 * The frontier of a tree: the roots of its largest complete subtrees, left to right, one for every
 * bit that is set in the size. It is all that is needed to append leaves and to know the root.
 *
 * As JSON, for a tree of three leaves: `{"size":3,"hashes":["<root of leaves 0, 1>","<leaf 2>"]}`,
 * hashes in Base 64.
 */
import { ArtifactError } from '../../schemas/problems.ts'
import {
  EMPTY_ROOT,
  foldHashes,
  HASH_BYTES,
  type Hash,
  hashNode,
  isSize,
  nodesOfRange,
  type TreeHead,
} from './merkle.ts'
import { formatBase64, parseBase64 } from './strict-text.ts'
import { TILE_HEIGHT } from './tile.ts'

/** Root of a full tile: hash number `index` of the tiles of `level`, which is 1 or higher. */
export interface TileRoot {
  level: number
  index: number
  hash: Hash
}

/** What is stored of a frontier. */
export interface FrontierState {
  size: number
  /** Base 64. */
  hashes: string[]
}

/** A tree that grows. */
export interface Frontier {
  readonly size: number
  /** Roots of the largest complete subtrees, left to right. */
  readonly hashes: readonly Hash[]
  /** Adds a leaf; gives the roots of the full tiles that it completes, lowest level first. */
  append(leafHash: Hash): readonly TileRoot[]
  root(): Hash
  head(): TreeHead
  /** An independent frontier of the same tree. */
  fork(): Frontier
  toJSON(): FrontierState
}

const NO_TILES: readonly TileRoot[] = []

/** A frontier of no leaves. */
export function createFrontier(): Frontier {
  return frontierOf(0, [])
}

/**
 * A frontier from stored hashes; throws `log_malformed` unless there are as many as the size asks
 * for, each of 32 bytes. Whether they are the right ones, {@link Frontier.root} tells.
 */
export function restoreFrontier(size: number, hashes: readonly Hash[]): Frontier {
  const count = isSize(size) ? nodesOfRange(0, size).length : -1
  if (hashes.length === count && hashes.every(({ length }) => length === HASH_BYTES))
    return frontierOf(size, [...hashes])
  throw new ArtifactError(
    'log_malformed',
    'Cannot restore the frontier: it does not fit its size',
    {
      expected: `${count} hashes of ${HASH_BYTES} bytes for ${size} leaves`,
      found: `${hashes.length} hashes`,
    },
  )
}

/** The inverse of {@link Frontier.toJSON}; throws `log_malformed`. */
export function parseFrontier({ size, hashes }: FrontierState): Frontier {
  // A hash that cannot be read becomes one without bytes, which is refused.
  return restoreFrontier(
    size,
    hashes.map((text) => parseBase64(text) ?? new Uint8Array()),
  )
}

function frontierOf(startSize: number, hashes: Hash[]): Frontier {
  let size = startSize
  return {
    get size() {
      return size
    },
    get hashes() {
      return hashes
    },
    append(leafHash) {
      if (leafHash.length !== HASH_BYTES || !isSize(size + 1))
        throw new RangeError(`Cannot append leaf ${size}: its hash has ${leafHash.length} bytes`)
      const completed = appendTo(hashes, size, leafHash)
      size += 1
      return completed
    },
    root() {
      return size === 0 ? EMPTY_ROOT : foldHashes(hashes)
    },
    head() {
      return { size, root: this.root() }
    },
    fork() {
      return frontierOf(size, [...hashes])
    },
    toJSON() {
      return { size, hashes: hashes.map(formatBase64) }
    },
  }
}

/** Joins the new leaf with every complete subtree that it makes larger. */
function appendTo(hashes: Hash[], size: number, leafHash: Hash): readonly TileRoot[] {
  let joined = leafHash
  let completed: TileRoot[] | undefined
  let index = size
  for (let height = 1; index % 2 === 1; height += 1) {
    const left = hashes.pop()
    if (left === undefined)
      throw new RangeError(`Cannot append leaf ${size}: the frontier is short`)
    joined = hashNode(left, joined)
    index = (index - 1) / 2
    if (height % TILE_HEIGHT === 0) {
      completed ??= []
      completed.push({ level: height / TILE_HEIGHT, index, hash: joined })
    }
  }
  hashes.push(joined)
  return completed ?? NO_TILES
}
