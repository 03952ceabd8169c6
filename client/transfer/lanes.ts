import { createSemaphore, type Semaphore } from './semaphore.ts'

/**
 * Requests side by side. Whoever is asked may say that there are too many: then there are half as many,
 * and one more with every round of them that goes well ("additive increase, multiplicative decrease",
 * Chiu and Jain 1989), up to what there were.
 */
export interface Lanes extends Semaphore {
  /**
   * Acts once a lane is free, and keeps it until that is done; `crowded` says that the other end asks
   * for fewer. Throws what `act` throws, and `interrupted` when the signal fires before.
   */
  run<T>(signal: AbortSignal, act: (crowded: () => void) => Promise<T>): Promise<T>
}

/** So many lanes at most. */
export function createLanes(most: number): Lanes {
  const semaphore = createSemaphore(most)
  let narrowedAtMs = Number.NEGATIVE_INFINITY
  let passed = 0
  const narrow = (beganAtMs: number): void => {
    // Those that were under way together hear the same, and it counts once.
    if (beganAtMs <= narrowedAtMs) return
    narrowedAtMs = performance.now()
    passed = 0
    semaphore.resize(Math.max(1, Math.floor(semaphore.total / 2)))
  }
  const widen = (): void => {
    if (semaphore.total >= most || ++passed < semaphore.total) return
    passed = 0
    semaphore.resize(semaphore.total + 1)
  }
  return Object.assign(semaphore, {
    async run<T>(signal: AbortSignal, act: (crowded: () => void) => Promise<T>): Promise<T> {
      await semaphore.acquire(1, signal)
      let beganAtMs = performance.now()
      let wasCrowded = false
      try {
        const result = await act(() => {
          wasCrowded = true
          narrow(beganAtMs)
          beganAtMs = performance.now()
        })
        if (!wasCrowded) widen()
        return result
      } finally {
        semaphore.release(1)
      }
    },
  })
}
