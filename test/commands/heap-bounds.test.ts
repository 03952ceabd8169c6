/** The heap of a program that moves very many files. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'

const CHURN = join(import.meta.dirname, '..', 'support', 'churn.ts')
const MIB = 1024 ** 2

const Peaks = z.object({ peakYoungBytes: z.number(), peakHeapBytes: z.number() })

function churn(mode: 'bounded' | 'free') {
  const { stdout, stderr } = spawnSync(process.execPath, [CHURN, mode], { encoding: 'utf8' })
  expect(stderr).toBe('')
  return Peaks.parse(JSON.parse(stdout))
}

describe('boundHeap()', () => {
  it('keeps what V8 would let grow within bounds, though it runs already', () => {
    const free = churn('free')
    const bounded = churn('bounded')
    // It may be late by one step, which doubles the space.
    expect(bounded.peakYoungBytes).toBeLessThanOrEqual(40 * MIB)
    expect(bounded.peakHeapBytes).toBeLessThanOrEqual(80 * MIB)
    expect(free.peakYoungBytes).toBeGreaterThan(40 * MIB)
    expect(free.peakHeapBytes).toBeGreaterThan(80 * MIB)
  })
})
