import { describe, expect, it } from 'vitest'
import { isAtPace, keepPace, readClock } from '../../client/wire/pace.ts'

const PACE = { paceMs: 60_000, paceBytes: 1000 }

/** Chunks of these sizes, each after so much waiting, and a clock that knows. */
function openSource(chunks: readonly { bytes: number; afterMs: number }[]) {
  let timeMs = 0
  const source = {
    asked: 0,
    isClosed: false,
    now: () => timeMs,
    pass(ms: number) {
      timeMs += ms
    },
    async *[Symbol.asyncIterator]() {
      try {
        for (const { bytes, afterMs } of chunks) {
          source.asked++
          timeMs += afterMs
          yield new Uint8Array(bytes)
        }
      } finally {
        source.isClosed = true
      }
    },
  }
  return source
}

async function count(source: ReturnType<typeof openSource>, readerMs = 0): Promise<number> {
  let bytes = 0
  for await (const chunk of keepPace(source, PACE, source.now)) {
    bytes += chunk.length
    source.pass(readerMs)
  }
  return bytes
}

describe('keepPace()', () => {
  it('gives up what brings a byte now and then, and closes it', async () => {
    const drips = openSource(Array.from({ length: 100 }, () => ({ bytes: 1, afterMs: 29_000 })))
    await expect(count(drips)).rejects.toThrow('only 3 bytes came in 87 s')
    expect(drips.asked).toBe(3)
    expect(drips.isClosed).toBe(true)
  })

  it('judges every stretch by itself, however much came before', async () => {
    const fading = openSource([
      { bytes: 1_000_000, afterMs: 60_000 },
      ...Array.from({ length: 100 }, () => ({ bytes: 1, afterMs: 20_000 })),
    ])
    await expect(count(fading)).rejects.toThrow('only 3 bytes came in 60 s')
    expect(fading.asked).toBe(4)
  })

  it('lets pass what keeps the pace, and what is soon over', async () => {
    const steady = Array.from({ length: 100 }, () => ({ bytes: 500, afterMs: 29_000 }))
    expect(await count(openSource(steady))).toBe(50_000)
    expect(await count(openSource([{ bytes: 1, afterMs: 59_999 }]))).toBe(1)
  })

  it('counts no time that the reader takes', async () => {
    const slow = openSource(Array.from({ length: 100 }, () => ({ bytes: 1, afterMs: 500 })))
    expect(await count(slow, 3_600_000)).toBe(100)
  })

  it('closes its source when nobody wants more', async () => {
    const left = openSource([
      { bytes: 1, afterMs: 0 },
      { bytes: 1, afterMs: 0 },
    ])
    for await (const _ of keepPace(left, PACE, left.now)) break
    expect(left.isClosed).toBe(true)
  })
})

describe('isAtPace()', () => {
  it('tells progress from a byte a try', () => {
    const began = readClock() - 30_000
    expect(isAtPace(PACE, 1000, began)).toBe(true)
    expect(isAtPace(PACE, 400, began)).toBe(false)
    expect(isAtPace(PACE, 0, readClock())).toBe(false)
  })
})
