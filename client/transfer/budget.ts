/**
 * What a transfer may use at once: memory for parts, and requests on their way. Several transfers
 * that share a budget stay within it together.
 */
import { untilAborted } from './interruption.ts'
import { createLanes, type Lanes } from './lanes.ts'
import { createSemaphore, type Semaphore } from './semaphore.ts'

export const DEFAULT_CONCURRENCY = 6
export const DEFAULT_MEMORY_BYTES = 128 * 1024 ** 2
/** Requests at once where the network is slow, unless the number was chosen. */
const FAR_CONCURRENCY = 32
/** What one transfer takes of the memory at most, if two of its buffers fit. */
const POOL_BYTES = 32 * 1024 ** 2

export interface Budget {
  /** In bytes. */
  memory: Semaphore
  /** Requests that move bytes. */
  requests: Lanes
  /** The same where a single one is slow: they hold no memory for parts. */
  farRequests: Lanes
}

/** A budget as the options say, else the defaults: 128 MiB and the usual number of requests. */
export function createBudget(options: {
  memoryBytes?: number | undefined
  concurrency?: number | undefined
}): Budget {
  return {
    memory: createSemaphore(options.memoryBytes ?? DEFAULT_MEMORY_BYTES),
    requests: createLanes(options.concurrency ?? DEFAULT_CONCURRENCY),
    farRequests: createLanes(options.concurrency ?? FAR_CONCURRENCY),
  }
}

/** How many buffers of this size a transfer makes: enough to keep its requests busy, and few. */
export function countBuffers({ memory, requests }: Budget, sizeBytes: number): number {
  const poolBytes = Math.max(POOL_BYTES, memory.total / 4)
  return Math.min(requests.total + 1, Math.max(2, Math.floor(poolBytes / sizeBytes)))
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
  allocate: (sizeBytes: number) => Uint8Array = (bytes) => Buffer.allocUnsafeSlow(bytes),
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
    return allocate(sizeBytes)
  }
  const wait = async (signal: AbortSignal): Promise<void> => {
    const { promise, resolve } = Promise.withResolvers<void>()
    waiting.push(resolve)
    try {
      await untilAborted(promise, signal)
    } catch (error) {
      const place = waiting.indexOf(resolve)
      if (place >= 0) waiting.splice(place, 1)
      // It was its turn as it gave up: that of the next.
      else waiting.shift()?.()
      throw error
    }
  }
  return {
    tryAcquire,
    async acquire(signal) {
      for (;;) {
        const buffer = tryAcquire()
        if (buffer !== undefined) return buffer
        if (count === 0) break
        await wait(signal)
      }
      await memory.acquire(cost, signal)
      count++
      return allocate(sizeBytes)
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
