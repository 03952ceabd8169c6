/**
 * What a transfer may use at once: memory for parts, and requests on their way. Several transfers
 * that share a budget stay within it together.
 */
import { interrupted, untilAborted } from './interruption.ts'

export const DEFAULT_CONCURRENCY = 6
export const DEFAULT_MEMORY_BYTES = 128 * 1024 ** 2
/** Requests more at once where the network is slow, unless the number was chosen. */
const FAR_CONCURRENCY = 16
/** What one transfer takes of the memory at most, if two of its buffers fit. */
const POOL_BYTES = 64 * 1024 ** 2

/** A counted resource; who waits is served in order. */
export interface Semaphore {
  readonly total: number
  /** Waits until `count` (at most `total`) is free; throws `interrupted` when the signal fires. */
  acquire(count: number, signal: AbortSignal): Promise<void>
  /** Takes it if it is free at once and nobody waits. */
  tryAcquire(count: number): boolean
  release(count: number): void
}

export interface Budget {
  /** In bytes. */
  memory: Semaphore
  /** Requests that move bytes. */
  requests: Semaphore
  /** The same where a single one is slow: they hold no memory for parts. */
  farRequests: Semaphore
}

/** A budget as the options say, else the defaults: 128 MiB and the usual number of requests. */
export function createBudget(options: {
  memoryBytes?: number | undefined
  concurrency?: number | undefined
}): Budget {
  return {
    memory: createSemaphore(options.memoryBytes ?? DEFAULT_MEMORY_BYTES),
    requests: createSemaphore(options.concurrency ?? DEFAULT_CONCURRENCY),
    farRequests: createSemaphore(options.concurrency ?? FAR_CONCURRENCY),
  }
}

/** How many buffers of this size a transfer makes: enough to keep its requests busy, and few. */
export function countBuffers({ memory, requests }: Budget, sizeBytes: number): number {
  const poolBytes = Math.max(POOL_BYTES, memory.total / 2)
  return Math.min(requests.total + 1, Math.max(2, Math.floor(poolBytes / sizeBytes)))
}

/** Serves in the order of asking, so that a large wish is not starved by small ones. */
export function createSemaphore(total: number, free = total): Semaphore {
  const waiting: { count: number; wake: () => void }[] = []
  const serve = () => {
    for (let next = waiting[0]; next !== undefined && next.count <= free; next = waiting[0]) {
      waiting.shift()
      free -= next.count
      next.wake()
    }
  }
  return {
    total,
    async acquire(count, signal) {
      if (signal.aborted) throw interrupted(signal.reason)
      if (this.tryAcquire(count)) return
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      const waiter = { count, wake: resolve }
      const giveUp = () => {
        waiting.splice(waiting.indexOf(waiter), 1)
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
  }
}

/** Buffers of one size, used again and again. Dispose of it when none is in use any more. */
export interface BufferPool extends Disposable {
  /** Waits for a buffer; throws `interrupted` when the signal fires. */
  acquire(signal: AbortSignal): Promise<Uint8Array>
  /** A buffer if one can be had at once. */
  tryAcquire(): Uint8Array | undefined
  release(buffer: Uint8Array): void
}

/**
 * A pool of at most `countMax` buffers within the memory of the budget. It waits for its first buffer
 * only; for a further one it takes what is free, else it waits for its own: so pools that share
 * a budget cannot block each other.
 */
export function createBufferPool(
  memory: Semaphore,
  sizeBytes: number,
  countMax: number,
): BufferPool {
  const cost = Math.min(sizeBytes, memory.total)
  const free: Uint8Array[] = []
  const waiting: (() => void)[] = []
  let count = 0
  const tryAcquire = (): Uint8Array | undefined => {
    const idle = free.pop()
    if (idle !== undefined) return idle
    if (count >= countMax || !memory.tryAcquire(cost)) return undefined
    count++
    return Buffer.allocUnsafeSlow(sizeBytes)
  }
  return {
    tryAcquire,
    async acquire(signal) {
      for (;;) {
        const buffer = tryAcquire()
        if (buffer !== undefined) return buffer
        if (count === 0) break
        await untilAborted(new Promise<void>((resolve) => waiting.push(resolve)), signal)
      }
      await memory.acquire(cost, signal)
      count++
      return Buffer.allocUnsafeSlow(sizeBytes)
    },
    release(buffer) {
      free.push(buffer)
      waiting.shift()?.()
    },
    [Symbol.dispose]() {
      memory.release(cost * count)
      count = 0
    },
  }
}
