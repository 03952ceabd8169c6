/** The leaves of a log as its server gives them, bundle after bundle. */
import { readLogFile } from '../api.ts'
import type { Connection } from '../transfer/connection.ts'
import { present } from '../trust/log-files.ts'
import { entryWidth, formatTilePath, parseEntries, TILE_WIDTH } from '../verify/tile.ts'

/** Bundles that are on their way at the same time. */
const AHEAD = 4
/** Of a bundle: 256 entries of 65,535 bytes, each after its length. */
const BUNDLE_BYTES_MAX = TILE_WIDTH * (65_535 + 2)

export interface Bundle {
  /** Index of its first leaf. */
  first: number
  /** The bytes of the leaves, none of them judged. */
  entries: Uint8Array[]
}

/**
 * Leaves `[start, end)` of the log. Throws `log_missing` or `log_malformed` for a bundle that is not
 * as long as it has to be, and what the server says: the token must cover all entries.
 */
export async function* readEntries(
  connection: Connection,
  start: number,
  end: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<Bundle> {
  const last = Math.ceil(end / TILE_WIDTH)
  const ahead: Promise<Bundle>[] = []
  let next = Math.floor(start / TILE_WIDTH)
  while (next < last || ahead.length > 0) {
    while (next < last && ahead.length < AHEAD) {
      const bundle = fetchBundle(connection, next, start, end, signal)
      // It may fail while nobody waits for it yet.
      bundle.catch(() => undefined)
      ahead.push(bundle)
      next += 1
    }
    const bundle = await ahead.shift()
    if (bundle !== undefined) yield bundle
  }
}

async function fetchBundle(
  connection: Connection,
  index: number,
  start: number,
  end: number,
  signal: AbortSignal | undefined,
): Promise<Bundle> {
  const width = entryWidth(index, end)
  const path = formatTilePath({ level: 'entries', index, width })
  const bytes = await present(path, () =>
    readLogFile(connection, `/${path}`, BUNDLE_BYTES_MAX, { signal, authorize: true }),
  )
  const skipped = Math.max(0, start - index * TILE_WIDTH)
  return {
    first: index * TILE_WIDTH + skipped,
    entries: parseEntries(bytes, width).slice(skipped),
  }
}
