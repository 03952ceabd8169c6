/**
 * A long range on its way into the scratch: as one stream while that carries what there is, as several
 * where one is given only a share of it, in many small pieces where it is slow.
 *
 * Object stores give each connection a share ("Best practices design patterns: optimizing Amazon S3
 * performance" says 85 to 90 MB/s), and so do networks that are long.
 */
import type { Scratch } from '../disk/quarantine.ts'
import { isSlow, patienceMs } from './connection.ts'
import type { Range, ReadOptions } from './content.ts'
import { interrupted } from './interruption.ts'
import { createFrontier, fetchPieces, PIECE_BYTES_MIN, type PieceOptions } from './pieces.ts'
import type { ReceiveContext } from './receive.ts'

/** Streams side by side at most: each reads into memory of its own. */
const STREAMS_MAX = 6

/** Hears that `count` more bytes lie in the scratch, and that there is no gap before `end`. */
export type Landed = (end: bigint, count: number) => void

/** What one stream turned out to be. */
interface Verdict {
  /** It is slow, rather than given a share. */
  isSlow: boolean
  /** What it carried. */
  bytesPerSecond: number
}

/** What it left undone. */
interface Remainder extends Verdict {
  range: Range
}

/** Brings a range of the artifact to its place in the scratch. Throws as `read()` of the content does. */
export async function fetchRun(
  context: ReceiveContext,
  scratch: Scratch,
  run: Range,
  landed: Landed,
): Promise<void> {
  let rest = await fetchAsOne(context, scratch, run, landed, { isShared: true })
  if (rest?.isSlow === false) {
    const after = await fetchAsSeveral(context, scratch, rest, landed)
    if (after === undefined) return
    rest = await fetchAsOne(context, scratch, after, landed, { isShared: false })
  }
  // Small ones, which hold no memory, and many.
  const many = { lanes: context.budget.farRequests }
  if (rest !== undefined) await fetchInPieces(context, scratch, rest.range, many, landed)
}

/**
 * Fetches a range as one stream; answers what is left when that turns out to be slow, or, where it
 * may be shared, to carry less than several could.
 */
async function fetchAsOne(
  { content, timing, isFar, budget, signal }: ReceiveContext,
  scratch: Scratch,
  run: Range,
  landed: Landed,
  { isShared }: { isShared: boolean },
): Promise<Remainder | undefined> {
  const enough = new AbortController()
  let done = 0
  let writingMs = 0
  // With the first bytes: how long those take tells of the store.
  let began: { atMs: number; bytes: number } | undefined
  let verdict: Verdict | undefined
  const judge = (): Verdict | undefined => {
    began ??= { atMs: performance.now(), bytes: done }
    const tookMs = performance.now() - began.atMs
    const left = run.sizeBytes - done
    if (tookMs < patienceMs({ timing, isFar }) || left < 2 * PIECE_BYTES_MIN) return undefined
    const bytes = done - began.bytes
    const bytesPerSecond = (bytes * 1000) / tookMs
    if (isSlow(timing, bytes, began.atMs)) return { isSlow: true, bytesPerSecond }
    // What the disk here takes is not the fault of the stream, and a short rest is not worth it. Before
    // anything came there is nothing that several could be compared with.
    const isShare = bytes > 0 && bytes * 1000 < timing.sharedBytesPerSecond * (tookMs - writingMs)
    return isShared && isShare && left > bytes ? { isSlow: false, bytesPerSecond } : undefined
  }
  const write = async (chunk: Uint8Array) => {
    const beganMs = performance.now()
    await scratch.write(chunk, run.offset + BigInt(done))
    if (began !== undefined) writingMs += performance.now() - beganMs
    done += chunk.length
    landed(run.offset + BigInt(done), chunk.length)
    // What was in memory already may still come after it.
    verdict ??= judge()
    if (verdict !== undefined) enough.abort(interrupted('it carries too little'))
  }
  const either = AbortSignal.any([signal, enough.signal])
  try {
    await budget.requests.run(signal, (crowded) =>
      content.read(run, write, either, { isBulk: true, crowded }),
    )
    return undefined
  } catch (error) {
    if (signal.aborted || verdict === undefined) throw error
    const range = { offset: run.offset + BigInt(done), sizeBytes: run.sizeBytes - done }
    return { ...verdict, range }
  }
}

/** Fetches a range as several streams; answers what is left when they bring no more than one did. */
async function fetchAsSeveral(
  context: ReceiveContext,
  scratch: Scratch,
  { range, bytesPerSecond }: Remainder,
  landed: Landed,
): Promise<Range | undefined> {
  const { budget, timing } = context
  const beganMs = performance.now()
  let bytes = 0
  let isWorse = false
  const judge: Landed = (end, count) => {
    landed(end, count)
    bytes += count
    const tookMs = performance.now() - beganMs
    const least = timing.gainMin * bytesPerSecond
    isWorse ||= tookMs > patienceMs(context) && bytes * 1000 < least * tookMs
  }
  const options = { lanes: budget.requests, most: STREAMS_MAX, isEnough: () => isWorse }
  return fetchInPieces(context, scratch, range, { ...options, isBulk: true }, judge)
}

/** Fetches a range in pieces side by side; answers what the options leave of it. */
function fetchInPieces(
  { content, signal }: ReceiveContext,
  scratch: Scratch,
  range: Range,
  { isBulk, ...options }: PieceOptions & Pick<ReadOptions, 'isBulk'>,
  landed: Landed,
): Promise<Range | undefined> {
  const frontier = createFrontier(range.offset)
  return fetchPieces(range, options, signal, (piece, lane) => {
    let done = 0
    const write = async (chunk: Uint8Array) => {
      await scratch.write(chunk, piece.offset + BigInt(done))
      done += chunk.length
      landed(frontier.moved(piece, done), chunk.length)
    }
    return content.read(piece, write, lane.signal, { isBulk, crowded: lane.crowded })
  })
}
