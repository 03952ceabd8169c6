/** Speed of an upload from what its client reported, smoothed. Pure. */

/** Samples older than this count for nothing. */
const WINDOW_MS = 12_000
/** What is seen for less than this says nothing of speed. */
const SHORTEST_MS = 900

/**
 * @typedef {object} RateMeter
 * @property {(at: number, bytes: number) => void} add Takes a sample, milliseconds and bytes. Going back, as
 *   when parts are sent again, begins anew.
 * @property {(now: number) => number | undefined} rate Bytes a second up to now; `undefined` while too little
 *   was seen.
 * @property {() => void} restart Forgets everything.
 */

/**
 * A meter that has seen nothing. Its speed is the slope over the last samples, up to now and not up to the
 * last of them: what stands still gets slower.
 *
 * @returns {RateMeter}
 */
export function createRateMeter() {
  /** @type {{ at: number, bytes: number }[]} */
  let samples = []
  return {
    add(at, bytes) {
      const last = samples.at(-1)
      if (last !== undefined && (bytes < last.bytes || at < last.at)) samples = []
      else if (last !== undefined && at === last.at) samples.pop()
      samples.push({ at, bytes })
      while (samples.length > 2 && at - (samples[1]?.at ?? at) >= WINDOW_MS) samples.shift()
    },
    rate(now) {
      const [first] = samples
      const last = samples.at(-1)
      if (first === undefined || last === undefined || first === last) return undefined
      const seen = last.at - first.at
      if (seen < SHORTEST_MS) return undefined
      // Reports come about every second: a pause of that length is no slowing.
      const elapsed = Math.max(seen, now - first.at - 2 * SHORTEST_MS)
      return ((last.bytes - first.bytes) * 1000) / elapsed
    },
    restart() {
      samples = []
    },
  }
}
