/**
 * Tiles: the tree cut into files that never change (C2SP tlog-tiles). A tile of level L holds up to
 * 256 hashes, each the root of 256^L leaves; below level 1 that is the leaf hashes, above it the
 * roots of full tiles of the level below.
 *
 *     path  = "tile/" level "/" index [ ".p/" width ]    ; below the prefix of the log
 *     level = "entries" / decimal, 0 to 63
 *     index = *("x" 3DIGIT "/") 3DIGIT                   ; three digits at a time, no leading "x000"
 *     width = decimal, 1 to 255                          ; only of a partial tile
 *
 * For example `tile/0/x001/x234/067`, and `tile/entries/273.p/112`, the newest entries of a log of
 * 70,000. Decimals have no leading zeros; every tile has one path.
 *
 * An entry bundle holds the leaves themselves: for each, its length as 16 bits, big-endian, and its
 * bytes.
 */
import { ArtifactError } from '../../schemas/problems.ts'
import { HASH_BYTES, type Hash, isSize, type TreeNode } from './merkle.ts'

/** Levels of the tree in a tile. */
export const TILE_HEIGHT = 8
/** Hashes, or entries, in a full tile. */
export const TILE_WIDTH = 256
const LEVEL_MAX = 63
const ENTRY_BYTES_MAX = 65_535

/** A tile of hashes. */
export interface HashTile {
  level: number
  /** From 0, left to right. */
  index: number
  /** Hashes that it has: 1 to 256. */
  width: number
}

/** A bundle of entries; its index and width are those of a tile of level 0. */
export interface EntryTile {
  level: 'entries'
  index: number
  width: number
}

export type Tile = HashTile | EntryTile

/** The path of a tile below the prefix of the log, without a slash in front. */
export function formatTilePath(tile: Tile): string {
  const { level, index, width } = tile
  if (!isTile(tile))
    throw new RangeError(`Cannot name tile ${level}/${index} of ${width}: there is none`)
  const digits = String(index)
  const padded = digits.padStart(Math.ceil(digits.length / 3) * 3, '0')
  const groups = padded.match(/.{3}/g) ?? []
  const path = groups.map((group, at) => (at < groups.length - 1 ? `x${group}` : group)).join('/')
  return `tile/${level}/${path}${width === TILE_WIDTH ? '' : `.p/${width}`}`
}

/** The inverse of {@link formatTilePath}; `undefined` for any other spelling. */
export function parseTilePath(path: string): Tile | undefined {
  const form = /^tile\/(entries|[0-9]{1,2})\/((?:x[0-9]{3}\/){0,5}[0-9]{3})(?:\.p\/([0-9]{1,3}))?$/
  const [, name, groups, partial] = form.exec(path) ?? []
  if (name === undefined || groups === undefined) return undefined
  const at = {
    index: Number(groups.replace(/[x/]/g, '')),
    width: partial === undefined ? TILE_WIDTH : Number(partial),
  }
  const tile: Tile =
    name === 'entries' ? { level: 'entries', ...at } : { level: Number(name), ...at }
  if (!isTile(tile)) return undefined
  // One spelling each: `tile/00/…`, `x000/…`, `.p/256` and `.p/01` would be further names in a cache.
  return formatTilePath(tile) === path ? tile : undefined
}

/** Width of a tile of hashes in a tree of `size` leaves: 0 to 256. */
export function tileWidth(level: number, index: number, size: number): number {
  const hashes = Math.floor(size / TILE_WIDTH ** level)
  return Math.min(TILE_WIDTH, Math.max(0, hashes - index * TILE_WIDTH))
}

/** Width of a bundle of entries in a log of `size` leaves: 0 to 256. */
export function entryWidth(index: number, size: number): number {
  return tileWidth(0, index, size)
}

/**
 * The partial tiles of a tree of `size` leaves, lowest level first. Together they hold the roots of
 * its largest complete subtrees and nothing else, so the root of the tree vouches for all of them.
 */
export function rightEdge(size: number): HashTile[] {
  const tiles: HashTile[] = []
  for (let level = 0, hashes = size; hashes > 0; level += 1) {
    const width = hashes % TILE_WIDTH
    hashes = Math.floor(hashes / TILE_WIDTH)
    if (width > 0) tiles.push({ level, index: hashes, width })
  }
  return tiles
}

/** All tiles that a tree of `size` leaves has beyond one of `oldSize`: hashes, then entries. */
export function newTiles(oldSize: number, size: number): Tile[] {
  const tiles: Tile[] = []
  for (let level = 0, hashes = size; hashes > 0; level += 1) {
    const first = Math.floor(oldSize / TILE_WIDTH ** (level + 1))
    for (let index = first; index * TILE_WIDTH < hashes; index += 1) {
      const width = tileWidth(level, index, size)
      if (width > tileWidth(level, index, oldSize)) tiles.push({ level, index, width })
    }
    hashes = Math.floor(hashes / TILE_WIDTH)
  }
  const entries = tiles.filter(({ level }) => level === 0)
  return [...tiles, ...entries.map((tile) => ({ ...tile, level: 'entries' as const }))]
}

/** Where a complete subtree is found: the hashes `[start, start + count)` of a tile. */
export interface TileSlots {
  tile: HashTile
  start: number
  count: number
}

/** The tile that tells the hash of a node, in a tree of `size` leaves that has the node. */
export function slotsOfNode({ height, index }: TreeNode, size: number): TileSlots {
  const level = Math.floor(height / TILE_HEIGHT)
  const count = 2 ** (height % TILE_HEIGHT)
  const first = index * count
  const tileIndex = Math.floor(first / TILE_WIDTH)
  const tile = { level, index: tileIndex, width: tileWidth(level, tileIndex, size) }
  const start = first % TILE_WIDTH
  if (isSize(index) && isSize(size) && start + count <= tile.width) return { tile, start, count }
  throw new RangeError(`Cannot find node ${height}/${index}: the tree of ${size} does not have it`)
}

/** Hash number `slot` of a tile. */
export function hashInTile(bytes: Uint8Array, slot: number): Hash {
  return bytes.subarray(slot * HASH_BYTES, (slot + 1) * HASH_BYTES)
}

/** The bytes of a bundle; throws a `RangeError` for an entry above 65,535 bytes, or too many. */
export function formatEntries(entries: readonly Uint8Array[]): Uint8Array {
  if (entries.length > TILE_WIDTH || entries.some(({ length }) => length > ENTRY_BYTES_MAX))
    throw new RangeError(`Cannot bundle ${entries.length} entries: too many, or one too long`)
  return Buffer.concat(
    entries.flatMap((entry) => {
      const length = Buffer.allocUnsafe(2)
      length.writeUInt16BE(entry.length)
      return [length, entry]
    }),
  )
}

/**
 * The inverse of {@link formatEntries}; throws `log_malformed` unless there are exactly `width`
 * entries and nothing else. They are not checked against the tree: hash each, and compare.
 */
export function parseEntries(bytes: Uint8Array, width: number): Uint8Array[] {
  const entries: Uint8Array[] = []
  let at = 0
  while (at < bytes.length && entries.length < width) {
    const length = (bytes[at] ?? 0) * 256 + (bytes[at + 1] ?? 0)
    const end = at + 2 + length
    if (end > bytes.length) break
    entries.push(bytes.subarray(at + 2, end))
    at = end
  }
  if (at === bytes.length && entries.length === width) return entries
  throw new ArtifactError(
    'log_malformed',
    'Cannot read the entries: the bundle is not as long as it says',
    {
      expected: `${width} entries and nothing else`,
      found: `${entries.length} entries in ${at} of ${bytes.length} bytes`,
    },
  )
}

function isTile({ level, index, width }: Tile): boolean {
  const isLevel = level === 'entries' || (isSize(level) && level <= LEVEL_MAX)
  return isLevel && isSize(index) && Number.isInteger(width) && width >= 1 && width <= TILE_WIDTH
}
