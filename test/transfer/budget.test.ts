import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createBufferPool } from '../../client/transfer/budget.ts'
import { forEachLimited } from '../../client/transfer/limited.ts'
import { createSemaphore } from '../../client/transfer/semaphore.ts'

const never = new AbortController().signal
const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

describe('createSemaphore()', () => {
  it('serves in order, a large request before smaller ones behind it', async () => {
    const semaphore = createSemaphore(4)
    await semaphore.acquire(3, never)
    const served: string[] = []
    const large = semaphore.acquire(4, never).then(() => served.push('large'))
    const small = semaphore.acquire(1, never).then(() => served.push('small'))
    expect(semaphore.tryAcquire(1)).toBe(false)
    semaphore.release(3)
    await large
    semaphore.release(4)
    await small
    expect(served).toEqual(['large', 'small'])
  })

  it('lets the others pass when one gives up', async () => {
    const semaphore = createSemaphore(2)
    await semaphore.acquire(1, never)
    const controller = new AbortController()
    const givingUp = semaphore.acquire(2, controller.signal)
    const next = semaphore.acquire(1, never)
    controller.abort()
    await expect(givingUp).rejects.toMatchObject({ code: 'interrupted' })
    await next
  })
})

describe('createBufferPool()', () => {
  it('never holds more than the budget, and never blocks, whoever shares it', async () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 10 }), { minLength: 1, maxLength: 6 })
    await fc.assert(
      fc.asyncProperty(sizes, fc.integer({ min: 1, max: 20 }), async (all, total) => {
        const memory = createSemaphore(total)
        let used = 0
        let most = 0
        const usePool = async (sizeBytes: number): Promise<void> => {
          using pool = createBufferPool(memory, sizeBytes, 3)
          const tasks: Promise<void>[] = []
          for (let round = 0; round < 5; round++) {
            const buffer = await pool.acquire(never)
            used += Math.min(buffer.length, total)
            most = Math.max(most, used)
            tasks.push(
              turn().then(() => {
                used -= Math.min(buffer.length, total)
                pool.release(buffer)
              }),
            )
          }
          await Promise.all(tasks)
        }
        await Promise.all(all.map(usePool))
        expect(most).toBeLessThanOrEqual(total)
        expect(memory.tryAcquire(total)).toBe(true)
      }),
      { numRuns: 50 },
    )
  })

  it('gives a buffer to who still waits, not to who gave up', async () => {
    using pool = createBufferPool(createSemaphore(10), 10, 1)
    const buffer = await pool.acquire(never)
    const controller = new AbortController()
    const givingUp = pool.acquire(controller.signal)
    const waiting = pool.acquire(never)
    controller.abort()
    await expect(givingUp).rejects.toMatchObject({ code: 'interrupted' })
    pool.release(buffer)
    expect(await waiting).toBe(buffer)
  })
})

describe('forEachLimited()', () => {
  it('calls for every item, for no more than the limit at once', async () => {
    let running = 0
    let most = 0
    const seen: number[] = []
    await forEachLimited(Array.from({ length: 40 }).keys(), 7, async (item) => {
      most = Math.max(most, ++running)
      await turn()
      running--
      seen.push(item)
    })
    expect(most).toBe(7)
    expect(seen.sort((one, other) => one - other)).toEqual([...Array(40).keys()])
  })
})
