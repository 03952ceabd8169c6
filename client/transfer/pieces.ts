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

export interface PieceOptions {
  lanes: Lanes
  /** Of the lanes, no more than so many [all]. */
  most?: number | undefined
  /** Asked before each piece: `true` leaves it and all behind it [`false`]. */
  isEnough?: (() => boolean) | undefined
}

/**
 * Calls `fetch` for every piece of a range, in order, for as many at once as there are lanes; answers
 * what was left. The first that throws ends them all, and is thrown.
 */
export async function fetchPieces(
  range: Range,
  { lanes, most: allowed = lanes.total, isEnough = () => false }: PieceOptions,
  signal: AbortSignal,
  fetch: (piece: Range, lane: PieceLane) => Promise<void>,
): Promise<Range | undefined> {
  const most = Math.min(lanes.total, allowed)
  const failure = new AbortController()
  const either = AbortSignal.any([signal, failure.signal])
  let leftBytes = range.sizeBytes
  function* wanted() {
    for (const piece of cutIntoPieces(range, most)) {
      if (isEnough()) return
      leftBytes -= piece.sizeBytes
      yield piece
    }
  }
  await forEachLimited(wanted(), most, async (piece) => {
    try {
      await lanes.run(either, (crowded) => fetch(piece, { signal: either, crowded }))
    } catch (error) {
      failure.abort(error)
    }
  })
  failure.signal.throwIfAborted()
  if (leftBytes === 0) return undefined
  const done = BigInt(range.sizeBytes - leftBytes)
  return { offset: range.offset + done, sizeBytes: leftBytes }
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
