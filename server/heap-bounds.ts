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
/** From here on it grows in earnest: what has only started, or asks a server, stays below. */
const YOUNG_BYTES_BUSY = YOUNG_BYTES_MAX / 4
/** By which V8 lets that space grow, unless it is told otherwise. */
const FACTOR = 2
/** Garbage before the whole heap is looked through, in percent of what was found alive the last time. */
const GARBAGE_PERCENT = 50

/**
 * Bounds the heap of this process from now on; only for a program that owns its process. It sets flags
 * that V8 reads anew with every collection, so that they hold although it runs already; were they to
 * lose their meaning, the heap would only grow as it does without them. May be repeated.
 *
 * V8 takes compiled code from the cache of Node only under the flags that it was kept under. So they
 * are set once the heap has grown, when modules are long loaded: commands with bounds and commands
 * without share the code of their modules. `atOnce` is for a process that stays: while its modules are
 * loaded, all in one go, nobody looks, and what has grown by then never shrinks.
 */
export function boundHeap({ atOnce = false } = {}): void {
  let isBusy = false
  let factor = FACTOR
  const setFactor = (next: number) => {
    if (next !== factor) setFlagsFromString(`--semi-space-growth-factor=${next}`)
    factor = next
  }
  const boundGarbage = () => {
    if (!isBusy) setFlagsFromString(`--heap-growing-percent=${GARBAGE_PERCENT}`)
    isBusy = true
  }
  const adjust = () => {
    const bytes = youngBytes()
    if (bytes >= YOUNG_BYTES_BUSY) boundGarbage()
    // It shrinks while there is little to do, and has to be able to grow again.
    setFactor(bytes < YOUNG_BYTES_MAX ? FACTOR : 1)
  }
  new PerformanceObserver(adjust).observe({ entryTypes: ['gc'] })
  if (!atOnce) return
  boundGarbage()
  setFactor(1)
}

function youngBytes(): number {
  const space = getHeapSpaceStatistics().find(({ space_name: name }) => name === 'new_space')
  return space?.space_size ?? 0
}
