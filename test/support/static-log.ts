/** A whole log as static files, by the code of the project: path below the prefix -> bytes. */
import { formatCheckpoint } from '../../client/verify/checkpoint.ts'
import { createFrontier } from '../../client/verify/frontier.ts'
import { type Hash, hashLeaf, type TreeHead } from '../../client/verify/merkle.ts'
import type { NoteSigner } from '../../client/verify/note-key.ts'
import { signNote } from '../../client/verify/signed-note.ts'
import { formatEntries, formatTilePath, newTiles, TILE_WIDTH } from '../../client/verify/tile.ts'
import type { TileSource } from '../../client/verify/tile-reader.ts'

export interface StaticLog {
  head: TreeHead
  /** `checkpoint`, `tile/…`, `tile/entries/…`. */
  files: Map<string, Uint8Array>
}

/** Builds the log of these entries, its checkpoint signed by a key named after its origin. */
export function buildStaticLog(entries: readonly Uint8Array[], signer: NoteSigner): StaticLog {
  const frontier = createFrontier()
  const levels: Hash[][] = [[]]
  for (const entry of entries) {
    const leafHash = hashLeaf(entry)
    levels[0]?.push(leafHash)
    for (const { level, hash } of frontier.append(leafHash)) {
      levels[level] ??= []
      levels[level].push(hash)
    }
  }
  const head = frontier.head()
  const files = new Map<string, Uint8Array>()
  for (const tile of newTiles(0, head.size)) {
    const start = tile.index * TILE_WIDTH
    const cut = <T>(all: readonly T[]) => all.slice(start, start + tile.width)
    const bytes =
      tile.level === 'entries'
        ? formatEntries(cut(entries))
        : Buffer.concat(cut(levels[tile.level] ?? []))
    files.set(formatTilePath(tile), bytes)
  }
  const text = formatCheckpoint({ origin: signer.key.name, ...head })
  files.set('checkpoint', Buffer.from(signNote(text, [signer])))
  return { head, files }
}

/** Serves the tiles of a log from memory. */
export function serveTiles(files: ReadonlyMap<string, Uint8Array>): TileSource {
  return {
    fetchTile: async (tile) => {
      const bytes = files.get(formatTilePath(tile))
      if (bytes === undefined) throw new Error(`no ${formatTilePath(tile)}`)
      return bytes
    },
  }
}
