/**
 * The least pace of an answer. Who sends a byte now and then never stands still, and would otherwise be
 * waited for as long as he likes.
 */

/** So much has to come in so much waiting. */
export interface Pace {
  paceMs: number
  paceBytes: number
}

/**
 * Hands chunks on, and throws once `paceMs` of waiting for them brought less than `paceBytes`. The time
 * that the reader takes counts for nothing. `now` is in ms.
 */
export async function* keepPace(
  body: AsyncIterable<Uint8Array>,
  { paceMs, paceBytes }: Pace,
  now: () => number = readClock,
): AsyncGenerator<Uint8Array> {
  const iterator = body[Symbol.asyncIterator]()
  let waitedMs = 0
  let bytes = 0
  try {
    for (;;) {
      const began = now()
      const step = await iterator.next()
      if (step.done === true) return
      waitedMs += now() - began
      bytes += step.value.length
      if (waitedMs >= paceMs) {
        if (bytes < paceBytes) throw tooSlow(bytes, waitedMs)
        waitedMs = 0
        bytes = 0
      }
      yield step.value
    }
  } finally {
    await iterator.return?.()
  }
}

/** Whether what came in that time is worth going on for. */
export function isAtPace({ paceMs, paceBytes }: Pace, bytes: number, sinceMs: number): boolean {
  return bytes > 0 && bytes * paceMs >= paceBytes * (readClock() - sinceMs)
}

/** Time that passes, in ms. Not the global `performance`: Node would load a module for it. */
export function readClock(): number {
  return Number(process.hrtime.bigint()) / 1_000_000
}

function tooSlow(bytes: number, waitedMs: number): Error {
  return new Error(`only ${bytes} bytes came in ${Math.round(waitedMs / 1000)} s`)
}
