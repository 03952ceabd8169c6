/**
 * A range of an object on its way from a store: how it is asked for, and how long it is waited for. No
 * package is needed for that, so that a thread need not load one.
 */
import { keepPace, type Pace } from '../../client/wire/pace.ts'
import { ArtifactError } from '../../schemas/problems.ts'

/** A call that takes longer has failed. */
export const CALL_TIMEOUT_MS = 60_000
export const CONNECT_TIMEOUT_MS = 10_000
/** A body that stands still for longer is broken. */
const STALL_TIMEOUT_MS = 60_000

export interface ObjectRange {
  start: bigint
  /** `undefined`: to the end. */
  end: bigint | undefined
  signal: AbortSignal | undefined
}

export interface ObjectBody {
  /** Of the range that comes. */
  sizeBytes: bigint
  /** Throws `store_unavailable` when the stream breaks, stalls or lags. */
  chunks: AsyncIterable<Uint8Array>
}

/** The `Range` of a request for it; none for the whole. */
export function rangeHeader({ start, end }: Pick<ObjectRange, 'start' | 'end'>): {
  range?: string
} {
  if (start === 0n && end === undefined) return {}
  return { range: `bytes=${start}-${end === undefined ? '' : end - 1n}` }
}

/**
 * Hands on what a store sends, and `drop`s it when it stands still, does not keep the pace, is told to
 * stop, or nobody wants more. Throws `store_unavailable` when it breaks, stalls or lags; `verb` completes
 * "Cannot …".
 */
export async function* readSteadily(
  body: AsyncIterable<Uint8Array>,
  drop: () => void,
  verb: string,
  pace: Pace,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  const arm = () => setTimeout(drop, STALL_TIMEOUT_MS)
  signal?.addEventListener('abort', drop, { once: true })
  let timer = arm()
  try {
    for await (const chunk of keepPace(body, pace)) {
      // The reader may take its time; only the store is under the clock.
      clearTimeout(timer)
      yield chunk
      timer = arm()
    }
    signal?.throwIfAborted()
  } catch (error) {
    signal?.throwIfAborted()
    throw nameSilence(verb, error)
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', drop)
    drop()
  }
}

/** Nobody answered: `store_unavailable`. `verb` completes "Cannot …". An error of this project passes. */
export function nameSilence(verb: string, error: unknown): ArtifactError {
  if (error instanceof ArtifactError) return error
  return new ArtifactError('store_unavailable', `Cannot ${verb}: the store does not answer`, {
    found: error instanceof Error ? error.name : 'an unknown failure',
    cause: error,
  })
}
