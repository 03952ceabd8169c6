/** The files of a log as its server gives them, none of them judged. */
import { ArtifactError } from '../../schemas/problems.ts'
import { call, readLogFile } from '../api.ts'
import type { Connection } from '../transfer/connection.ts'
import { HASH_BYTES } from '../verify/merkle.ts'
import { formatNoteKey, type NoteKey, parseNoteKey } from '../verify/note-key.ts'
import { NOTE_BYTES_MAX } from '../verify/signed-note.ts'
import { formatTilePath, TILE_WIDTH } from '../verify/tile.ts'
import type { TileSource } from '../verify/tile-reader.ts'

/** Full tiles that are kept; 8 MiB. */
const KEPT_TILES_MAX = 1024

/** The key that a server says its log has; `undefined` when it says that it has no log. */
export async function findLogKey(
  connection: Connection,
  signal: AbortSignal | undefined,
): Promise<NoteKey | undefined> {
  try {
    const { origin, key: text } = await call(connection, 'getLog', {}, { signal })
    const key = parseServerKey(text)
    if (key?.name === origin && key.kind === 'note') return key
    throw new ArtifactError('log_malformed', 'Cannot use the log: its key is not one of a log', {
      expected: `a key of ${JSON.stringify(origin)}`,
      found: key === undefined ? text : formatNoteKey(key),
    })
  } catch (error) {
    if (error instanceof ArtifactError && error.code === 'log_absent') return undefined
    throw error
  }
}

/** The note of the newest head. Throws `log_missing` when there is none. */
export async function fetchCheckpoint(
  connection: Connection,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  return present('the newest head', () =>
    readLogFile(connection, '/checkpoint', NOTE_BYTES_MAX, { signal }),
  )
}

/** Tiles from the server; full ones that were checked are not asked for again. */
export function openTiles(connection: Connection, signal: AbortSignal | undefined): TileSource {
  const kept = keptTiles(connection)
  return {
    async fetchTile(tile) {
      const path = formatTilePath(tile)
      const known = kept.get(path)
      if (known !== undefined) return known
      const bytesMax = tile.width * HASH_BYTES
      return present(path, () => readLogFile(connection, `/${path}`, bytesMax, { signal }))
    },
    keepTile(tile, bytes) {
      if (tile.width !== TILE_WIDTH) return
      const [oldest] = kept.keys()
      if (kept.size >= KEPT_TILES_MAX && oldest !== undefined) kept.delete(oldest)
      kept.set(formatTilePath(tile), bytes)
    },
  }
}

/** Throws `log_missing` for an answer that says that there is no such thing: absence is no success. */
export async function present<T>(what: string, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask()
  } catch (cause) {
    const isAbsent =
      cause instanceof ArtifactError && ['not_found', 'log_absent'].includes(cause.code)
    if (!isAbsent) throw cause
    throw new ArtifactError('log_missing', `Cannot check the log: the server has not ${what}`, {
      found: cause.message,
      cause,
    })
  }
}

const tilesOf = new WeakMap<Connection, Map<string, Uint8Array>>()

function keptTiles(connection: Connection): Map<string, Uint8Array> {
  const kept = tilesOf.get(connection) ?? new Map<string, Uint8Array>()
  tilesOf.set(connection, kept)
  return kept
}

/** A key that the network gave: what is wrong with it is not the fault of who typed the command. */
function parseServerKey(text: string): NoteKey | undefined {
  try {
    return parseNoteKey(text)
  } catch (error) {
    if (error instanceof ArtifactError) return undefined
    throw error
  }
}
