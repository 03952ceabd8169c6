/**
 * A range fetched in pieces side by side. Loss and distance bound what one connection carries (Mathis et
 * al., "The macroscopic behavior of the TCP congestion avoidance algorithm", 1997); they do so for each.
 */
import type { Range } from './content.ts'
import type { Lanes } from './lanes.ts'
import { forEachLimited } from './limited.ts'

/** Less is not worth a round trip, in bytes; what is shorter than two of them is no range to cut. */
export const PIECE_BYTES_MIN = 256 * 1024
const PIECE_BYTES_MAX = 16 * 1024 ** 2

/** How a piece is fetched. */
export interface PieceLane {
  /** Fires when another piece cannot be had. */
  signal: AbortSignal
  /** As that of {@link Lanes.run}. */
  crowded: () => void
}

/**
 * Calls `fetch` for every piece of a range, in order, for as many at once as there are lanes. The first
 * that throws ends them all, and is thrown.
 */
export async function fetchPieces(
  range: Range,
  lanes: Lanes,
  signal: AbortSignal,
  fetch: (piece: Range, lane: PieceLane) => Promise<void>,
): Promise<void> {
  const most = lanes.total
  const failure = new AbortController()
  const either = AbortSignal.any([signal, failure.signal])
  await forEachLimited(cutIntoPieces(range, most), most, async (piece) => {
    try {
      await lanes.run(either, (crowded) => fetch(piece, { signal: either, crowded }))
    } catch (error) {
      failure.abort(error)
    }
  })
  failure.signal.throwIfAborted()
}

/**
 * Pieces that become smaller towards the end, so that all lanes end at about the same time ("guided
 * self-scheduling", Polychronopoulos and Kuck 1987): each is half of what is left for a lane.
 */
export function* cutIntoPieces({ offset, sizeBytes }: Range, lanes: number): Generator<Range> {
  for (let done = 0; done < sizeBytes; ) {
    const left = sizeBytes - done
    const half = Math.ceil(left / (2 * lanes))
    const most = Math.min(left, PIECE_BYTES_MAX)
    const pieceBytes = Math.min(most, Math.max(PIECE_BYTES_MIN, half))
    yield { offset: offset + BigInt(done), sizeBytes: pieceBytes }
    done += pieceBytes
  }
}

/** How far a range is there without a gap, while its pieces come in any order. */
export interface Frontier {
  /** So many bytes of a piece are there. Returns the end of what has no gap. */
  moved(piece: Range, doneBytes: number): bigint
}

/** The frontier of pieces that follow one another from `offset` on. */
export function createFrontier(offset: bigint): Frontier {
  let first = offset
  const pieces = new Map<bigint, { sizeBytes: number; doneBytes: number }>()
  return {
    moved({ offset: at, sizeBytes }, doneBytes) {
      pieces.set(at, { sizeBytes, doneBytes })
      for (;;) {
        const next = pieces.get(first)
        if (next === undefined) return first
        if (next.doneBytes < next.sizeBytes) return first + BigInt(next.doneBytes)
        pieces.delete(first)
        first += BigInt(next.sizeBytes)
      }
    },
  }
}
