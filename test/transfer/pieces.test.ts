import { once } from 'node:events'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createLanes } from '../../client/transfer/lanes.ts'
import {
  createFrontier,
  cutIntoPieces,
  fetchPieces,
  PIECE_BYTES_MIN,
} from '../../client/transfer/pieces.ts'

const MIB = 1024 ** 2
const never = new AbortController().signal

const anyRange = fc.record({
  offset: fc.bigInt({ min: 0n, max: 1n << 50n }),
  sizeBytes: fc.integer({ min: 1, max: 2 ** 33 }),
})

describe('cutIntoPieces()', () => {
  it('covers every byte once, in order, with pieces that never grow', () => {
    fc.assert(
      fc.property(anyRange, fc.integer({ min: 1, max: 64 }), (range, lanes) => {
        const pieces = [...cutIntoPieces(range, lanes)]
        let end = range.offset
        let last = Number.POSITIVE_INFINITY
        for (const [index, piece] of pieces.entries()) {
          expect(piece.offset).toBe(end)
          end += BigInt(piece.sizeBytes)
          expect(piece.sizeBytes).toBeLessThanOrEqual(last)
          if (index < pieces.length - 1)
            expect(piece.sizeBytes).toBeGreaterThanOrEqual(PIECE_BYTES_MIN)
          last = piece.sizeBytes
        }
        expect(end).toBe(range.offset + BigInt(range.sizeBytes))
      }),
      { numRuns: 50 },
    )
  })

  it('leaves none so large at the end that others wait for it', () => {
    const pieces = [...cutIntoPieces({ offset: 0n, sizeBytes: 64 * MIB }, 32)]
    expect(pieces[0]?.sizeBytes).toBe(MIB)
    expect(pieces.slice(-32).every(({ sizeBytes }) => sizeBytes <= PIECE_BYTES_MIN)).toBe(true)
  })
})

describe('createFrontier()', () => {
  it('tells the end of what has no gap, in whatever order pieces move', () => {
    const moves = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 1, max: MIB })), { minLength: 1 })
    fc.assert(
      fc.property(moves, (all) => {
        const pieces = [...cutIntoPieces({ offset: 7n, sizeBytes: 3 * MIB }, 2)]
        const done = pieces.map(() => 0)
        const frontier = createFrontier(7n)
        for (const [choice, count] of all) {
          const index = choice % pieces.length
          const piece = pieces[index]
          if (piece === undefined || done[index] === piece.sizeBytes) continue
          done[index] = Math.min(piece.sizeBytes, (done[index] ?? 0) + count)
          const first = pieces.findIndex(({ sizeBytes }, at) => (done[at] ?? 0) < sizeBytes)
          const before = pieces.slice(0, first < 0 ? pieces.length : first)
          const whole = before.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
          expect(frontier.moved(piece, done[index])).toBe(7n + BigInt(whole + (done[first] ?? 0)))
        }
      }),
      { numRuns: 200 },
    )
  })
})

describe('fetchPieces()', () => {
  const range = { offset: 100n, sizeBytes: 5 * MIB }

  it('fetches for as many pieces at once as there are lanes, each once', async () => {
    const seen: bigint[] = []
    let running = 0
    let most = 0
    await fetchPieces(range, { lanes: createLanes(4) }, never, async ({ offset }) => {
      most = Math.max(most, ++running)
      seen.push(offset)
      await new Promise<void>((resolve) => setImmediate(resolve))
      running--
    })
    expect(most).toBe(4)
    expect(seen).toEqual([...cutIntoPieces(range, 4)].map(({ offset }) => offset))
  })

  it('takes no more lanes than it was given, and answers what it leaves', async () => {
    const seen: bigint[] = []
    let running = 0
    let most = 0
    const options = { lanes: createLanes(4), most: 2, isEnough: () => seen.length === 3 }
    const rest = await fetchPieces(range, options, never, async ({ offset }) => {
      most = Math.max(most, ++running)
      seen.push(offset)
      await new Promise<void>((resolve) => setImmediate(resolve))
      running--
    })
    const [first, second, third, fourth] = cutIntoPieces(range, 2)
    expect(seen).toEqual([first?.offset, second?.offset, third?.offset])
    expect(most).toBe(2)
    const end = range.offset + BigInt(range.sizeBytes)
    expect(rest).toEqual({
      offset: fourth?.offset,
      sizeBytes: Number(end - (fourth?.offset ?? 0n)),
    })
  })

  it('ends all with the first that fails, and throws that', async () => {
    const { promise: full, resolve } = Promise.withResolvers<void>()
    let running = 0
    let ended = 0
    const fetching = fetchPieces(
      range,
      { lanes: createLanes(4) },
      never,
      async ({ offset }, { signal }) => {
        const isAborted = once(signal, 'abort')
        if (++running === 4) resolve()
        await full
        if (offset === range.offset) throw new Error('as told')
        await isAborted
        ended++
      },
    )
    await expect(fetching).rejects.toThrow('as told')
    expect([running, ended]).toEqual([4, 3])
  })
})
