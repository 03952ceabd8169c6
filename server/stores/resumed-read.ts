/** A read that goes on where a connection broke. */
import { setTimeout as delay } from 'node:timers/promises'
import { isAtPace, type Pace, readClock } from '../../client/wire/pace.ts'
import { ArtifactError } from '../../schemas/problems.ts'

/** It goes on where it was, unless it breaks this often and brings hardly anything. */
const READ_FAILURES_MAX = 5

type Chunks = AsyncIterable<Uint8Array> | Iterable<Uint8Array>

/**
 * What `open` reads from a position on, first from `start` on; opened again behind the last byte when
 * it throws `store_unavailable`, unless that is what it keeps doing before anything came at this pace.
 * Other errors pass at once.
 */
export async function* readOn(
  open: (position: bigint) => Chunks | Promise<Chunks>,
  start: bigint,
  pace: Pace,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  let position = start
  for (let failures = 0; ; ) {
    const before = position
    const sinceMs = readClock()
    try {
      for await (const chunk of await open(position)) {
        position += BigInt(chunk.length)
        yield chunk
      }
      return
    } catch (error) {
      const isPassing = error instanceof ArtifactError && error.code === 'store_unavailable'
      if (isAtPace(pace, Number(position - before), sinceMs)) failures = 0
      failures += 1
      if (!isPassing || failures >= READ_FAILURES_MAX) throw error
      await delay(100 * 2 ** failures, undefined, signal === undefined ? {} : { signal })
    }
  }
}
