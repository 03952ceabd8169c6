import { interrupted } from './interruption.ts'

/** A counted resource; who waits is served in order. */
export interface Semaphore {
  readonly total: number
  /** Waits until `count` (at most `total`) is free; throws `interrupted` when the signal fires. */
  acquire(count: number, signal: AbortSignal): Promise<void>
  /** Takes it if it is free at once and nobody waits. */
  tryAcquire(count: number): boolean
  release(count: number): void
  /** From now on there is so much in all; what is held above that is waited for. */
  resize(total: number): void
}

/** Serves in the order of asking, so that a large wish is not starved by small ones. */
export function createSemaphore(size: number, free = size): Semaphore {
  const waiting: { count: number; wake: () => void }[] = []
  const serve = () => {
    for (let next = waiting[0]; next !== undefined && next.count <= free; next = waiting[0]) {
      waiting.shift()
      free -= next.count
      next.wake()
    }
  }
  let total = size
  return {
    get total() {
      return total
    },
    async acquire(count, signal) {
      if (signal.aborted) throw interrupted(signal.reason)
      if (this.tryAcquire(count)) return
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      const waiter = { count, wake: resolve }
      const giveUp = () => {
        const place = waiting.indexOf(waiter)
        // It was served already, and is about to hear of it.
        if (place < 0) return
        waiting.splice(place, 1)
        serve()
        reject(interrupted(signal.reason))
      }
      waiting.push(waiter)
      signal.addEventListener('abort', giveUp, { once: true })
      try {
        await promise
      } finally {
        signal.removeEventListener('abort', giveUp)
      }
    },
    tryAcquire(count) {
      if (waiting.length > 0 || count > free) return false
      free -= count
      return true
    },
    release(count) {
      free += count
      serve()
    },
    resize(next) {
      free += next - total
      total = next
      serve()
    },
  }
}
