/** Tiles that many receipts share, kept in memory once they were checked against a signed head. */
import { formatTilePath, type HashTile, TILE_WIDTH } from '../../client/verify/tile.ts'

export interface TileCache {
  /** The bytes of a tile that was kept. Whoever uses them checks them again under a head of its own. */
  find(tile: HashTile): Uint8Array | undefined
  /** Keeps a tile that was checked, if many may want it. */
  keep(tile: HashTile, bytes: Uint8Array): void
  /** Forgets all: what was kept does not fit a head. */
  clear(): void
}

/** 8 KiB each, and as much of hashes that are computed of them: enough for 16,777,216 leaves. */
const FULL_TILES_MAX = 256

/**
 * Makes an empty cache of bounded size. A tile of a given width never changes; full ones above the leaves
 * are kept, those used last, and of each level the last partial one, which is on the way of every proof.
 * Of the leaves themselves there are too many to meet one twice.
 */
export function createTileCache(): TileCache {
  const full = new Map<string, Uint8Array>()
  const edge = new Map<number, { path: string; bytes: Uint8Array }>()

  return {
    find(tile) {
      const path = formatTilePath(tile)
      const partial = edge.get(tile.level)
      if (partial?.path === path) return partial.bytes
      const bytes = full.get(path)
      // The order of a map is that of insertion: what is used goes to its end.
      if (bytes !== undefined && full.delete(path)) full.set(path, bytes)
      return bytes
    },
    keep(tile, bytes) {
      const path = formatTilePath(tile)
      if (tile.width < TILE_WIDTH) edge.set(tile.level, { path, bytes })
      else if (tile.level > 0) {
        const [oldest] = full.keys()
        if (full.size >= FULL_TILES_MAX && !full.has(path) && oldest !== undefined)
          full.delete(oldest)
        full.set(path, bytes)
      }
    },
    clear() {
      full.clear()
      edge.clear()
    },
  }
}
