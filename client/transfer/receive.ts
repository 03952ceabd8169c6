/**
 * Bytes on their way down: parts come in parallel, are verified each in memory, and go on in order.
 */
import { createHash } from 'node:crypto'
import type { Part } from '../../schemas/artifact.ts'
import { rangeOfPart } from '../../schemas/part-plan.ts'
import type { Scratch } from '../disk/quarantine.ts'
import {
  type ContentDigest,
  type ContentHasher,
  createContentHasher,
  sha256Of,
} from '../verify/digest.ts'
import { checkPart } from '../verify/verifier.ts'
import { type Budget, type BufferPool, countBuffers, createBufferPool } from './budget.ts'
import type { Timing } from './connection.ts'
import type { Content } from './content.ts'
import { interrupted } from './interruption.ts'
import type { Meter } from './meter.ts'
import { fetchPieces } from './pieces.ts'
import type { RecordClaim } from './record.ts'

/** Times that a corrupt part is fetched again. */
export const REFETCH_MAX = 2
const READ_BYTES = 1024 ** 2

export interface ReceiveContext {
  claim: RecordClaim
  content: Content
  budget: Budget
  meter: Meter
  timing: Timing
  /** As {@link Connection.isFar} says. */
  isFar: () => boolean
  signal: AbortSignal
}

/** What is there already. */
export interface KeptParts {
  numbers: ReadonlySet<number>
  sizeBytes: bigint
}

export const NOTHING_KEPT: KeptParts = { numbers: new Set(), sizeBytes: 0n }

/** Takes verified bytes, in order; `offset` is their place in the artifact. */
export type VerifiedSink = (bytes: Uint8Array, offset: bigint) => Promise<void>

/** Whether the parts are small enough to be held in memory until they are verified. */
export function fitsMemory({ record }: RecordClaim, { memory }: Budget): boolean {
  const sizeBytes = BigInt(record.sizeBytes)
  const largest = record.partCount > 1 ? BigInt(record.partSizeBytes) : sizeBytes
  return largest * 2n <= BigInt(memory.total)
}

/**
 * Fetches all parts that are not kept. Only verified parts reach the sink, in order. Those that are
 * kept are read from the scratch once more, since the digest of the whole needs them.
 *
 * Throws `part_mismatch` for a part that is corrupt again and again.
 */
export async function receiveBuffered(
  context: ReceiveContext,
  sink: VerifiedSink,
  scratch?: Scratch,
  kept: KeptParts = NOTHING_KEPT,
): Promise<ContentDigest> {
  const { claim, budget, meter } = context
  const { record } = claim
  const failure = new AbortController()
  const signal = AbortSignal.any([context.signal, failure.signal])
  const bufferBytes = Math.max(1, ...claim.parts.slice(0, 1).map((part) => part.sizeBytes))
  using pool = createBufferPool(budget.memory, bufferBytes, countBuffers(budget, bufferBytes))
  const hasher = createContentHasher(record.partSizeBytes)
  const running: Promise<unknown>[] = []
  const missing = claim.parts.filter((part) => !kept.numbers.has(part.number))
  const arrivals = prefetch(missing, { ...context, signal }, pool, running)
  try {
    for (const part of claim.parts) {
      const { offset } = rangeOfPart(BigInt(record.sizeBytes), record.partSizeBytes, part.number)
      if (scratch !== undefined && kept.numbers.has(part.number)) {
        await readKept(scratch, offset, part, hasher, signal)
        continue
      }
      const arrival = await arrivals.next()
      if (arrival.done === true) throw new Error(`Part ${part.number} was not fetched`)
      const buffer = arrival.value
      const bytes = buffer.subarray(0, part.sizeBytes)
      hasher.updatePart(bytes, part.sha256)
      await sink(bytes, offset)
      pool.release(buffer)
      meter.settle(part.sizeBytes)
    }
    return hasher.finish()
  } catch (error) {
    failure.abort(error)
    throw error
  } finally {
    await Promise.allSettled(running)
  }
}

/**
 * Fetches parts as far ahead as the memory goes, and hands out their buffers in order, each verified.
 * Whenever the next one is asked for, every buffer that is free is put to work first.
 */
async function* prefetch(
  parts: readonly Part[],
  context: ReceiveContext,
  pool: BufferPool,
  running: Promise<unknown>[],
): AsyncGenerator<Uint8Array> {
  const started: Promise<Uint8Array>[] = []
  const start = (part: Part, buffer: Uint8Array) => {
    const fetched = fetchPart(context, part, buffer).then(() => buffer)
    // It is waited for only when its turn has come; a failure before that is not lost.
    fetched.catch(() => undefined)
    started.push(fetched)
    running.push(fetched)
  }
  for (const [index, part] of parts.entries()) {
    if (started.length === index) start(part, await pool.acquire(context.signal))
    for (const later of parts.slice(
      started.length,
      started.length + context.budget.requests.total,
    )) {
      const buffer = pool.tryAcquire()
      if (buffer === undefined) break
      start(later, buffer)
    }
    const turn = started[index]
    if (turn !== undefined) yield await turn
  }
}

/** One part, verified, in the buffer. */
async function fetchPart(context: ReceiveContext, part: Part, buffer: Uint8Array): Promise<void> {
  const { record } = context.claim
  for (let fetched = 0; ; fetched++) {
    const sha256 = context.isFar()
      ? await fetchInPieces(context, part, buffer)
      : await fetchInOne(context, part, buffer)
    if (sha256 === part.sha256) return
    context.meter.move(-part.sizeBytes)
    if (fetched >= REFETCH_MAX) checkPart(record.reference, part, sha256)
  }
}

/** Returns the SHA-256 of what came. */
async function fetchInOne(
  { claim, content, budget, meter, signal }: ReceiveContext,
  part: Part,
  buffer: Uint8Array,
): Promise<string> {
  const hash = createHash('sha256')
  let filled = 0
  const fill = (chunk: Uint8Array) => {
    buffer.set(chunk, filled)
    hash.update(chunk)
    filled += chunk.length
    meter.move(chunk.length)
  }
  await budget.requests.run(signal, (crowded) =>
    content.read(place(claim, part), fill, signal, { crowded }),
  )
  return hash.digest('hex')
}

async function fetchInPieces(
  { claim, content, budget, meter, signal }: ReceiveContext,
  part: Part,
  buffer: Uint8Array,
): Promise<string> {
  const range = place(claim, part)
  await fetchPieces(range, { lanes: budget.farRequests }, signal, (piece, lane) => {
    let filled = Number(piece.offset - range.offset)
    const fill = (chunk: Uint8Array) => {
      buffer.set(chunk, filled)
      filled += chunk.length
      meter.move(chunk.length)
    }
    return content.read(piece, fill, lane.signal, lane)
  })
  return sha256Of(buffer.subarray(0, part.sizeBytes))
}

function place({ record }: RecordClaim, part: Part) {
  return rangeOfPart(BigInt(record.sizeBytes), record.partSizeBytes, part.number)
}

/** Which parts in the scratch are good. What lies behind the artifact's end is cut off. */
export async function findKept(
  { claim, meter, signal }: Pick<ReceiveContext, 'claim' | 'meter' | 'signal'>,
  scratch: Scratch,
): Promise<KeptParts> {
  const { record, parts } = claim
  const numbers = new Set<number>()
  let sizeBytes = 0n
  const present = await scratch.sizeBytes()
  if (present > BigInt(record.sizeBytes)) await scratch.truncate(BigInt(record.sizeBytes))
  for (const part of parts) {
    const { offset } = rangeOfPart(BigInt(record.sizeBytes), record.partSizeBytes, part.number)
    if (offset + BigInt(part.sizeBytes) > present) break
    const hash = createHash('sha256')
    await readThrough(scratch, offset, part.sizeBytes, (chunk) => void hash.update(chunk), signal)
    if (hash.digest('hex') !== part.sha256) continue
    numbers.add(part.number)
    sizeBytes += BigInt(part.sizeBytes)
    meter.skip(part.sizeBytes)
  }
  return { numbers, sizeBytes }
}

async function readKept(
  scratch: Scratch,
  offset: bigint,
  part: Part,
  hasher: ContentHasher,
  signal: AbortSignal,
): Promise<void> {
  await readThrough(scratch, offset, part.sizeBytes, (chunk) => hasher.update(chunk), signal)
}

/** Reads a range of the scratch in pieces. */
export async function readThrough(
  scratch: Scratch,
  offset: bigint,
  sizeBytes: number,
  sink: (chunk: Uint8Array) => void | Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const buffer = Buffer.allocUnsafeSlow(Math.min(READ_BYTES, Math.max(1, sizeBytes)))
  for (let done = 0; done < sizeBytes; ) {
    if (signal.aborted) throw interrupted(signal.reason)
    const piece = buffer.subarray(0, sizeBytes - done)
    const read = await scratch.read(piece, offset + BigInt(done))
    if (read === 0) return
    await sink(piece.subarray(0, read))
    done += read
  }
}
