import fc from 'fast-check'
import { sha256 } from 'hash-wasm'
import { describe, expect, it } from 'vitest'
import { openMemory } from '../../client/transfer/shared-memory.ts'
import {
  countThreads,
  openSpreadHasher,
  type ThreadCount,
} from '../../client/transfer/spread-hasher.ts'
import { EMPTY_SHA256 } from '../../client/verify/digest.ts'
import { MIB, makeBytes } from '../support/content.ts'
import { watchThreads } from '../support/threads.ts'

const PART = 1000
const SIZES = [0, 1, PART - 1, PART, PART + 1, 2 * PART, 7 * PART + 123]
const THREADS: readonly ThreadCount[] = [0, 1, 2]

/** What another implementation says of these bytes. */
async function describeBytes(bytes: Buffer, partSizeBytes: number) {
  const parts: { number: number; sizeBytes: number; sha256: string }[] = []
  for (let offset = 0; offset < bytes.length; offset += partSizeBytes) {
    const part = bytes.subarray(offset, offset + partSizeBytes)
    parts.push({ number: parts.length + 1, sizeBytes: part.length, sha256: await sha256(part) })
  }
  return { sizeBytes: BigInt(bytes.length), sha256: await sha256(bytes), parts }
}

interface HashRun {
  threads: ThreadCount
  isKnown: boolean
  partSizeBytes: number
  pieceBytes: number
}

/** Hashes as an upload does: the memory of a part is filled again as soon as the hasher is through with it. */
async function hashInTurns(
  bytes: Buffer,
  { threads, isKnown, partSizeBytes, pieceBytes }: HashRun,
) {
  using memory = openMemory({ isShared: threads > 0 })
  await using hasher = openSpreadHasher({
    partSizeBytes,
    sizeBytes: isKnown ? BigInt(bytes.length) : undefined,
    threads,
  })
  const turns = [memory.take(partSizeBytes), memory.take(partSizeBytes)]
  const settled: Promise<void>[] = []
  const digests: string[] = []
  for (let offset = 0, number = 0; offset < bytes.length; offset += partSizeBytes, number++) {
    const turn = number % 2
    await settled[turn]
    const part = bytes.subarray(offset, offset + partSizeBytes)
    for (let done = 0; done < part.length; done += pieceBytes) {
      const piece = turns[turn]?.subarray(done, Math.min(done + pieceBytes, part.length))
      piece?.set(part.subarray(done, done + pieceBytes))
      hasher.update(piece ?? new Uint8Array())
    }
    digests.push((await hasher.endPart()).sha256)
    settled[turn] = hasher.settled()
  }
  expect(hasher.sizeBytes).toBe(BigInt(bytes.length))
  const digest = await hasher.finish()
  expect(digest.parts.map((part) => part.sha256)).toEqual(digests)
  return digest
}

describe('openSpreadHasher()', () => {
  for (const threads of THREADS)
    for (const isKnown of [true, false])
      it.each(SIZES)(
        `says of %i bytes what another implementation says: ${threads} threads, size ${isKnown ? 'known' : 'not known'}`,
        async (sizeBytes) => {
          const bytes = makeBytes(sizeBytes, `spread ${sizeBytes}`)
          const run = { threads, isKnown, partSizeBytes: PART, pieceBytes: 300 }
          expect(await hashInTurns(bytes, run)).toEqual(await describeBytes(bytes, PART))
        },
      )

  it('hashes memory that is filled again and again, whatever the threads have in hand', async () => {
    const bytes = makeBytes(24 * MIB + 5, 'again')
    const expected = await describeBytes(bytes, 2 * MIB)
    for (const threads of THREADS) {
      const run = { threads, isKnown: true, partSizeBytes: 2 * MIB, pieceBytes: MIB / 2 }
      expect(await hashInTurns(bytes, run)).toEqual(expected)
    }
  })

  it('cuts anything as it is told', async () => {
    const run = fc.record({
      threads: fc.constantFrom(...THREADS),
      isKnown: fc.boolean(),
      partSizeBytes: fc.integer({ min: 1, max: 40 }),
      pieceBytes: fc.integer({ min: 1, max: 50 }),
    })
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 100 }), run, async (content, options) => {
        const bytes = Buffer.from(content)
        const expected = await describeBytes(bytes, options.partSizeBytes)
        expect(await hashInTurns(bytes, options)).toEqual(expected)
      }),
      { numRuns: 30 },
    )
  })

  it.each<[isKnown: boolean, parts: number, threads: number]>([
    [true, 0, 0],
    [true, 1, 2],
    [false, 0.5, 0],
    [false, 1, 2],
  ])('starts threads when they are needed: known %s, %d parts', async (isKnown, parts, started) => {
    using watch = watchThreads()
    const run = { threads: 2 as const, isKnown, partSizeBytes: PART, pieceBytes: PART }
    const digest = await hashInTurns(makeBytes(parts * PART), run)
    expect(digest.parts).toHaveLength(Math.ceil(parts))
    expect(watch.started).toHaveLength(started)
    expect(watch.countRunning()).toBe(0)
  })

  it.each([
    ['before the question', 0, true],
    ['before the question', 1, true],
    ['after the question', 0, false],
    ['after the question', 1, false],
  ])('gives no digest when a thread ends %s: thread %i', async (_, victim, isBefore) => {
    using watch = watchThreads()
    // A thread is told of before it runs a line.
    watch.onStart = (thread) => {
      if (thread === watch.started[victim]) void thread.terminate()
    }
    using memory = openMemory({ isShared: true })
    await using hasher = openSpreadHasher({ partSizeBytes: PART, sizeBytes: 10n, threads: 2 })
    hasher.update(memory.take(10).fill(0))
    while (isBefore && watch.countRunning() !== 1)
      await new Promise<void>((resolve) => setImmediate(resolve))
    const [part, settled, digest] = [hasher.endPart(), hasher.settled(), hasher.finish()]
    const ended = { code: 'local_io', message: 'Cannot hash: the thread for it has ended' }
    if (victim === 1) await expect(part).rejects.toMatchObject(ended)
    else expect((await part).sha256).toBe(await sha256(Buffer.alloc(10)))
    await expect(settled).rejects.toMatchObject(ended)
    await expect(digest).rejects.toMatchObject(ended)
  })

  it('knows the digest of nothing', async () => {
    await using hasher = openSpreadHasher({ partSizeBytes: 1, sizeBytes: undefined, threads: 1 })
    expect(await hasher.finish()).toEqual({ sizeBytes: 0n, sha256: EMPTY_SHA256, parts: [] })
  })
})

describe('countThreads()', () => {
  const LARGE = BigInt(64 * MIB)

  it.each<[bigint | undefined, cores: number, threads: number]>([
    [LARGE, 1, 0],
    [LARGE, 2, 1],
    [LARGE, 3, 2],
    [LARGE, 64, 2],
    [LARGE - 1n, 64, 0],
    [0n, 64, 0],
    [undefined, 1, 0],
    [undefined, 2, 1],
    [undefined, 8, 2],
  ])('starts for %s bytes on %i cores %i threads', (sizeBytes, cores, threads) => {
    expect(countThreads(sizeBytes, cores)).toBe(threads)
  })
})

describe('openMemory()', () => {
  it('takes what an earlier transfer has left, and not what one has in use', () => {
    const first = openMemory({ isShared: true })
    const [one, other] = [first.take(10 * MIB), first.take(MIB)]
    expect(one.buffer).toBeInstanceOf(SharedArrayBuffer)
    expect(one.buffer).not.toBe(other.buffer)
    using beside = openMemory({ isShared: true })
    expect([one.buffer, other.buffer]).not.toContain(beside.take(MIB).buffer)
    first[Symbol.dispose]()
    using second = openMemory({ isShared: true })
    const again = [second.take(9 * MIB), second.take(MIB), second.take(MIB)]
    expect(again.map(({ length }) => length)).toEqual([9 * MIB, MIB, MIB])
    expect(again[0]?.buffer).toBe(one.buffer)
    expect(again[1]?.buffer).toBe(other.buffer)
    expect(again[2]?.buffer).not.toBe(one.buffer)
  })

  it('gives memory of its own where no thread reads it', () => {
    using memory = openMemory({ isShared: false })
    expect(memory.take(100).buffer).toBeInstanceOf(ArrayBuffer)
  })
})
