/**
 * Long ranges of an object, in order. One stream is enough while it keeps up with whoever reads; where
 * the store gives one stream little, further ones run ahead of it and wait in memory for their turn.
 *
 * A store at a distance gives each connection a part of what it has ("Best practices design patterns:
 * optimizing Amazon S3 performance" says 85 to 90 MB/s), and the digest of the whole needs every byte in
 * order: so pieces are fetched side by side and read one after the other.
 */

import type { HeldBody } from '../../client/wire/bulk-reply.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { ObjectBody, ObjectRange } from './object-body.ts'

export interface AheadSettings {
  /** A piece is held in memory as a whole, in bytes. */
  pieceBytes: number
  /** Pieces ahead of the one that is read, of all readers of this process together. */
  piecesMax: number
  /** A stream is judged when it was waited for so long, in ms. */
  slowMs: number
  /** One that brought less than this by then is slow, in bytes per second of waiting. */
  slowBytesPerSecond: number
  /** Time that passes, in ms. */
  now: () => number
}

/**
 * 32 MiB in all and what is being read: the memory of a server stays small, and nine streams carry what
 * one cannot. Smaller pieces would spend more of their time on their beginning.
 */
const DEFAULT_SETTINGS: AheadSettings = {
  pieceBytes: 4 * 1024 ** 2,
  piecesMax: 8,
  slowMs: 1000,
  slowBytesPerSecond: 128 * 1024 ** 2,
  now: () => performance.now(),
}

/** Requests side by side cost processor time: they have to bring so many times what one stream did. */
const GAIN_MIN = 1.2

/** How ranges of one object are asked for. */
export interface RangeOpener {
  /** A stream of what is left; `undefined` when the range lies outside. */
  open(range: ObjectRange): Promise<ObjectBody | undefined>
  /**
   * A piece that comes into memory before anybody reads it; its signal drops it. `undefined` when the
   * store would rather not.
   */
  openAhead(range: ObjectRange, hold: HeldBody): Promise<ObjectBody | undefined>
}

/** What runs ahead, of all readers of a process together. */
export interface ReadAhead {
  /**
   * The bytes of the range in chunks that are good until the next one is asked for; none when it lies
   * outside. Throws what the opener throws, and `store_unavailable` for a piece of another size.
   */
  read(opener: RangeOpener, range: ObjectRange): AsyncGenerator<Uint8Array>
}

/**
 * Nothing runs ahead yet. Threads that share what may run ahead are given the same `counts`, two numbers
 * of shared memory that begin at zero.
 */
export function createReadAhead(
  settings: Partial<AheadSettings> = {},
  counts: Int32Array = new Int32Array(2),
): ReadAhead {
  const chosen = { ...DEFAULT_SETTINGS, ...settings }
  const pool = createPool(chosen.piecesMax, counts)
  return { read: (opener, range) => readLong(opener, range, chosen, pool) }
}

async function* readLong(
  opener: RangeOpener,
  range: ObjectRange,
  settings: AheadSettings,
  pool: Pool,
): AsyncGenerator<Uint8Array> {
  const first = await opener.open(range)
  if (first === undefined) return
  const end = range.start + first.sizeBytes
  const single = createPace(settings)
  const isPoor = (position: bigint) =>
    single.isSlow() && pool.hasRoom() && end - position >= 2n * BigInt(settings.pieceBytes)
  let start = yield* passUntil(first.chunks, range.start, single, isPoor)
  if (start === end) return
  const pieced = createPace(settings)
  // Each piece begins slowly: over a long way a stream that has found its speed may be as good.
  const isWorse = () => pieced.isJudged() && pieced.rate() < GAIN_MIN * single.rate()
  start = yield* readPieces(opener, { ...range, start, end }, settings, pool, pieced, isWorse)
  const rest = start === end ? undefined : await opener.open({ ...range, start, end })
  if (rest !== undefined) yield* rest.chunks
}

/** Hands chunks on until `isEnough` says so after one of them; answers where it stopped. */
async function* passUntil(
  chunks: AsyncIterable<Uint8Array>,
  start: bigint,
  pace: Pace,
  isEnough: (position: bigint) => boolean,
): AsyncGenerator<Uint8Array, bigint> {
  let position = start
  for await (const chunk of pace.time(chunks)) {
    position += BigInt(chunk.length)
    yield chunk
    if (isEnough(position)) break
  }
  return position
}

type PieceRange = ObjectRange & { end: bigint }

interface Piece {
  range: PieceRange
  body: Promise<ObjectBody | undefined>
  release: () => void
}

/** Reads pieces in order while further ones come; answers where it stopped, the end or where `isEnough` said so. */
async function* readPieces(
  { open, openAhead }: RangeOpener,
  { start, end, signal }: PieceRange,
  settings: AheadSettings,
  pool: Pool,
  pace: Pace,
  isEnough: () => boolean,
): AsyncGenerator<Uint8Array, bigint> {
  const stop = new AbortController()
  const either = AbortSignal.any([stop.signal, ...(signal === undefined ? [] : [signal])])
  using place = pool.join()
  const queue: Piece[] = []
  let next = start
  let position = start
  const begin = (ask: (range: PieceRange) => Piece['body'], release: () => void) => {
    const after = next + BigInt(settings.pieceBytes)
    const range = { start: next, end: after < end ? after : end, signal: either }
    const body = ask(range)
    // It is waited for in its turn; a failure before that is not lost.
    body.catch(() => undefined)
    queue.push({ range, body, release })
    next = range.end
  }
  const askAhead = (range: PieceRange) =>
    openAhead(range, { sizeBytes: Number(range.end - range.start), spare: pool.spare })
  try {
    while (position < end && !isEnough()) {
      // The one whose turn it is needs nobody's leave, so readers cannot block each other.
      const isAlone = queue.length === 0
      if (isAlone) begin(open, () => undefined)
      while (next < end) {
        const release = place.tryTake()
        if (release === undefined) break
        begin(askAhead, release)
      }
      const piece = queue.shift()
      if (piece === undefined) break
      // It is ahead no more, and becomes smaller from here on.
      piece.release()
      // One that had nothing before it to come ahead of says nothing about those that have.
      const { wait, time } = isAlone ? createPace(settings) : pace
      const ready = await wait(() => piece.body)
      if (ready === undefined) place.narrow()
      const body = ready ?? (await open(piece.range))
      yield* time(checkSize(body, piece.range).chunks)
      position = piece.range.end
    }
    return position
  } finally {
    stop.abort()
    for (const { release } of queue) release()
  }
}

function checkSize(body: ObjectBody | undefined, { start, end }: PieceRange): ObjectBody {
  if (body !== undefined && body.sizeBytes === end - start) return body
  throw cutShort(end - start, body?.sizeBytes ?? 0n)
}

function cutShort(expected: bigint, found: bigint): ArtifactError {
  return new ArtifactError(
    'store_unavailable',
    'Cannot read a range: the answer has another size',
    {
      expected: `${expected} bytes`,
      found: `${found} bytes`,
    },
  )
}

interface Pool {
  /** Buffers of pieces that were read, for the next ones. */
  readonly spare: Buffer[]
  /** Whether one more reader would have two pieces ahead; with fewer its one stream is better. */
  hasRoom(): boolean
  /** One more reader, until it is disposed of. */
  join(): Disposable & {
    /** Leave for one more piece, if its reader has not had its share; call what it returns once. */
    tryTake(): (() => void) | undefined
    /** From now on half of the pieces that there are. */
    narrow(): void
  }
}

/** Where the counts of a pool stand. */
const TAKEN = 0
const READERS = 1

function createPool(total: number, counts: Int32Array): Pool {
  const spare: Buffer[] = []
  /** Of this thread. */
  let ours = 0
  const readers = () => Atomics.load(counts, READERS)
  return {
    spare,
    hasRoom: () => 2 * (readers() + 1) <= total,
    join() {
      Atomics.add(counts, READERS, 1)
      ours += 1
      let mine = 0
      let most = total
      return {
        tryTake() {
          const share = Math.min(most, Math.max(1, Math.floor(total / readers())))
          if (mine >= share) return undefined
          if (Atomics.add(counts, TAKEN, 1) >= total) {
            Atomics.sub(counts, TAKEN, 1)
            return undefined
          }
          mine += 1
          return () => {
            Atomics.sub(counts, TAKEN, 1)
            mine -= 1
          }
        },
        narrow() {
          most = Math.floor(Math.min(most, mine + 1) / 2)
        },
        [Symbol.dispose]() {
          Atomics.sub(counts, READERS, 1)
          ours -= 1
          if (ours === 0) spare.length = 0
        },
      }
    },
  }
}

/** How fast bytes come while they are waited for: a reader with other things to do does not make a store slow. */
interface Pace {
  time(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array>
  wait<T>(act: () => Promise<T>): Promise<T>
  /** Waited long enough to be told. */
  isJudged(): boolean
  isSlow(): boolean
  /** Bytes per second of waiting. */
  rate(): number
}

function createPace({ slowMs, slowBytesPerSecond, now }: AheadSettings): Pace {
  let bytes = 0
  let waitedMs = 0
  const wait = async <T>(act: () => Promise<T>): Promise<T> => {
    const began = now()
    try {
      return await act()
    } finally {
      waitedMs += now() - began
    }
  }
  const pace: Pace = {
    async *time(chunks) {
      const iterator = chunks[Symbol.asyncIterator]()
      try {
        for (;;) {
          const step = await wait(() => iterator.next())
          if (step.done === true) return
          bytes += step.value.length
          yield step.value
        }
      } finally {
        await iterator.return?.()
      }
    },
    wait,
    isJudged: () => waitedMs >= slowMs,
    isSlow: () => pace.isJudged() && pace.rate() < slowBytesPerSecond,
    rate: () => (bytes * 1000) / Math.max(waitedMs, Number.EPSILON),
  }
  return pace
}
