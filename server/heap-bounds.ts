/**
 * Keeps the heap of a program small. V8 lets garbage lie until there is three times as much of it as of
 * what lives, and new objects fill up to 64 MiB before it looks: thousands of small files leave hundreds
 * of MiB behind where some thirty are in use.
 *
 * What is found sooner costs little: of what these programs make next to nothing outlives its batch.
 */
import { PerformanceObserver } from 'node:perf_hooks'
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8'

/** New objects, in both halves of the space that they are made in; with 8 MiB sealing takes a fifth more. */
const YOUNG_BYTES_MAX = 16 * 1024 ** 2
/** Garbage before the whole heap is looked through, in percent of what was found alive the last time. */
const GARBAGE_PERCENT = 80

/**
 * Bounds the heap of this process from now on; only for a program that owns its process. It sets flags
 * that V8 reads anew with every collection, so that they hold although it runs already; were they to
 * lose their meaning, the heap would only grow as it does without them. May be repeated.
 */
export function boundHeap(): void {
  setFlagsFromString(`--heap-growing-percent=${GARBAGE_PERCENT}`)
  // Nobody looks while modules are loaded, all in one go: until then it does not grow at all.
  let factor = 1
  const setFactor = (next: number) => {
    factor = next
    setFlagsFromString(`--semi-space-growth-factor=${next}`)
  }
  setFactor(factor)
  const adjust = () => {
    // It shrinks while there is little to do, and has to be able to grow again.
    const next = youngBytes() < YOUNG_BYTES_MAX ? 2 : 1
    if (next !== factor) setFactor(next)
  }
  new PerformanceObserver(adjust).observe({ entryTypes: ['gc'] })
}

function youngBytes(): number {
  const space = getHeapSpaceStatistics().find(({ space_name: name }) => name === 'new_space')
  return space?.space_size ?? 0
}
