/**
 * Reads hashes of the tree from tiles that anybody may have altered, and vouches for every one.
 *
 * Two rules, without exception: the partial tiles together fold into the root of the signed head,
 * and a full tile folds into its hash in the tile above it, which was checked before. A tile is
 * either partial or full, so none escapes both.
 */
import { ArtifactError } from '../../schemas/problems.ts'
import {
  foldHashes,
  HASH_BYTES,
  type Hash,
  isSameHash,
  nodesOfRange,
  type ReadHashes,
  type TreeHead,
} from './merkle.ts'
import {
  formatTilePath,
  type HashTile,
  hashInTile,
  rightEdge,
  slotsOfNode,
  TILE_WIDTH,
  tileWidth,
} from './tile.ts'

/** Most tiles that one reader keeps; 64 MiB with what is computed of them. */
const KEPT_TILES_MAX = 4096

export interface TileSource {
  /** The bytes of a tile, from anywhere. Throws when there is no such tile: absence is a failure. */
  fetchTile(tile: HashTile): Promise<Uint8Array>
  /** Told of every tile once it has been checked: only such tiles may be kept in a cache. */
  keepTile?(tile: HashTile, bytes: Uint8Array): void
}

/**
 * A reader of the tree with this head. What it gives is as true as the head; it throws
 * `log_inclusion` for a tile that does not fit, and `log_malformed` for one of another length.
 */
export function createTileReader(head: TreeHead, source: TileSource): ReadHashes {
  const checked = new Map<string, Promise<Uint8Array>>()
  let edge: Promise<Map<string, Uint8Array>> | undefined

  const fetchTile = async (tile: HashTile): Promise<Uint8Array> => {
    const bytes = await source.fetchTile(tile)
    if (bytes.length === tile.width * HASH_BYTES) return bytes
    throw new ArtifactError(
      'log_malformed',
      `Cannot use ${formatTilePath(tile)}: its length is wrong`,
      {
        expected: `${tile.width * HASH_BYTES} bytes`,
        found: `${bytes.length} bytes`,
      },
    )
  }

  const readEdge = async () => {
    edge ??= fetchEdge(head, fetchTile, source)
    try {
      return await edge
    } catch (error) {
      // A failure to fetch is not remembered: the next call may fare better.
      edge = undefined
      throw error
    }
  }

  const readFull = async (tile: HashTile): Promise<Uint8Array> => {
    const parent = parentOf(tile, head.size)
    // Both at once; the parent is asked for even when it is of no use, since nothing is used before.
    const [bytes, above] = await Promise.all([fetchTile(tile), readTile(parent)])
    const expected = hashInTile(above, tile.index % TILE_WIDTH)
    const found = rootOfTile(bytes)
    if (!isSameHash(found, expected)) throw misfit(tile, expected, found)
    source.keepTile?.(tile, bytes)
    return bytes
  }

  const readTile = async (tile: HashTile): Promise<Uint8Array> => {
    const path = formatTilePath(tile)
    if (tile.width < TILE_WIDTH) {
      const bytes = (await readEdge()).get(path)
      if (bytes !== undefined) return bytes
      throw new RangeError(`Cannot read ${path}: the tree of ${head.size} does not have it`)
    }
    const known = checked.get(path)
    if (known !== undefined) return known
    const [oldest] = checked.keys()
    if (checked.size >= KEPT_TILES_MAX && oldest !== undefined) checked.delete(oldest)
    const bytes = readFull(tile)
    checked.set(path, bytes)
    try {
      return await bytes
    } catch (error) {
      checked.delete(path)
      throw error
    }
  }

  return async (nodes) => {
    const slots = nodes.map((node) => slotsOfNode(node, head.size))
    // The edge is checked even when no node lies on it: every path to a root ends there.
    const [tiles] = await Promise.all([
      Promise.all(slots.map(({ tile }) => readTile(tile))),
      readEdge(),
    ])
    return slots.map(({ start, count }, at) => {
      const bytes = tiles[at] ?? new Uint8Array()
      return rootOfSlots(bytes, start, count)
    })
  }
}

/** Root over all hashes of a full tile. */
export function rootOfTile(bytes: Uint8Array): Hash {
  return rootOfSlots(bytes, 0, bytes.length / HASH_BYTES)
}

/** Hashes above those of a tile, of one level, end to end: a value each would take six times as much. */
interface ComputedRow {
  hashes: Uint8Array
  /** 1 for those that are there. */
  isThere: Uint8Array
}

/** By level: many proofs ask for the same ones. */
const computed = new WeakMap<Uint8Array, ComputedRow[]>()

/** Root over `count` hashes, a power of two, that begin at a multiple of it. */
function rootOfSlots(bytes: Uint8Array, start: number, count: number): Hash {
  if (count === 1) return hashInTile(bytes, start)
  const row = computedRow(bytes, count)
  const at = start / count
  const place = row.hashes.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES)
  if (row.isThere[at] !== 1) {
    const half = count / 2
    place.set(foldHashes([rootOfSlots(bytes, start, half), rootOfSlots(bytes, start + half, half)]))
    row.isThere[at] = 1
  }
  return place
}

function computedRow(bytes: Uint8Array, count: number): ComputedRow {
  const rows = computed.get(bytes) ?? []
  computed.set(bytes, rows)
  const width = Math.floor(bytes.length / HASH_BYTES / count)
  const row = rows[Math.log2(count)] ?? {
    hashes: Buffer.alloc(width * HASH_BYTES),
    isThere: new Uint8Array(width),
  }
  rows[Math.log2(count)] = row
  return row
}

async function fetchEdge(
  head: TreeHead,
  fetchTile: (tile: HashTile) => Promise<Uint8Array>,
  source: TileSource,
): Promise<Map<string, Uint8Array>> {
  const tiles = rightEdge(head.size)
  const fetched = await Promise.all(
    tiles.map(async (tile) => ({ tile, path: formatTilePath(tile), bytes: await fetchTile(tile) })),
  )
  const edge = new Map(fetched.map(({ path, bytes }) => [path, bytes]))
  const hashes = nodesOfRange(0, head.size).map((node) => {
    const { tile, start, count } = slotsOfNode(node, head.size)
    return rootOfSlots(edge.get(formatTilePath(tile)) ?? new Uint8Array(), start, count)
  })
  const found = foldHashes(hashes)
  if (!isSameHash(found, head.root)) throw misfit(undefined, head.root, found)
  for (const { tile, bytes } of fetched) source.keepTile?.(tile, bytes)
  return edge
}

function parentOf({ level, index }: HashTile, size: number): HashTile {
  const above = { level: level + 1, index: Math.floor(index / TILE_WIDTH) }
  return { ...above, width: tileWidth(above.level, above.index, size) }
}

function misfit(tile: HashTile | undefined, expected: Hash, found: Hash): ArtifactError {
  const what = tile === undefined ? 'the newest tiles' : formatTilePath(tile)
  return new ArtifactError('log_inclusion', `Cannot use ${what}: they are not of the signed tree`, {
    expected: Buffer.from(expected).toString('hex'),
    found: Buffer.from(found).toString('hex'),
  })
}
