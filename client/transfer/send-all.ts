/**
 * The bytes of an upload on their way: one pass over the source, every part hashed from the buffer
 * that is then sent, so that nothing can change between the two.
 */
import { createHash } from 'node:crypto'
import type { Part } from '../../schemas/artifact.ts'
import { countParts, planParts } from '../../schemas/part-plan.ts'
import { PARTS_MAX } from '../../schemas/primitives.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { type ContentDigest, sha256Of } from '../verify/digest.ts'
import { type Budget, type BufferPool, countBuffers, createBufferPool } from './budget.ts'
import { type Connection, isSlow, patienceMs } from './connection.ts'
import { interrupted, untilAborted } from './interruption.ts'
import type { Lanes } from './lanes.ts'
import { createTurns, fillBuffer, hashPart } from './read-part.ts'
import { createSemaphore } from './semaphore.ts'
import { type OutgoingPart, type SendContext, sendPart } from './send-part.ts'
import { openMemory, type TransferMemory } from './shared-memory.ts'
import { type FileSource, type Source, sourceChanged } from './source.ts'
import {
  countThreads,
  openSpreadHasher,
  type SpreadHasher,
  type ThreadCount,
} from './spread-hasher.ts'

/** Pieces in which bytes are handed to a socket. */
const CHUNK_BYTES = 256 * 1024
/** The same of a part that is read from its file as it goes: more than a socket takes without waiting. */
const FILE_CHUNK_BYTES = 128 * 1024
/** Such pieces take turns in so many buffers. A socket holds two: it asks for a third once the first is gone. */
const FILE_CHUNKS = 4
/** Parts above this are read from their file twice rather than held in memory. */
const LARGE_PART_BYTES = 32 * 1024 ** 2

export interface SendPlan {
  partSizeBytes: number
  /** SHA-256 of the parts that the store holds already, by number. */
  held: ReadonlyMap<number, string>
  /** `false`: only hash; the store has it all. */
  isSending: boolean
  /** [{@link countThreads}] */
  hashThreads?: ThreadCount | undefined
}

/** What went out. */
export interface SentContent {
  digest: ContentDigest
  sentBytes: bigint
}

interface ReadPart {
  /** As it was hashed from the memory or the file that `toOutgoing` sends. */
  part: Promise<Part>
  toOutgoing(part: Part): OutgoingPart
  /** Resolves once nothing hashes that memory any more. */
  settled: Promise<void>
  /** Where it waits for its turn to go out. */
  lanes: Lanes
  /** Gives the memory back. */
  release(): void
}

/**
 * Reads the source from its first byte to its last and sends what the store does not hold.
 *
 * Throws `source_changed` when the file changes meanwhile, `part_conflict` when it has other bytes
 * than a part that the store holds, `limit_exceeded` when a stream has more parts than allowed, and
 * whatever a part could not be sent for.
 */
export async function sendAll(
  context: SendContext,
  budget: Budget,
  source: Source,
  plan: SendPlan,
): Promise<SentContent> {
  const failure = new AbortController()
  const signal = AbortSignal.any([context.signal, failure.signal])
  const { hashThreads: threads = countThreads(source.sizeBytes) } = plan
  using memory = openMemory({ isShared: threads > 0 })
  using pool = createPool(budget, memory, source, plan)
  await using hasher = openSpreadHasher({ ...plan, sizeBytes: source.sizeBytes, threads })
  const running = new Set<Promise<void>>()
  let sentBytes = 0n
  let skippedBytes = 0

  const send = async ({ part: hashing, toOutgoing, lanes }: ReadPart): Promise<void> => {
    const part = await untilAborted(hashing, signal)
    if (isSkipped(plan, part)) {
      context.meter.skip(part.sizeBytes)
      skippedBytes += part.sizeBytes
      return
    }
    const outgoing = toOutgoing(part)
    await lanes.run(signal, (crowded) => sendPart({ ...context, signal, crowded }, outgoing))
    context.meter.settle(part.sizeBytes)
    sentBytes += BigInt(part.sizeBytes)
  }
  const deliver = async (read: ReadPart): Promise<void> => {
    try {
      await send(read)
      await untilAborted(read.settled, signal)
    } finally {
      read.release()
    }
  }
  const pass = async (): Promise<ContentDigest> => {
    const { connection } = context
    const countMoved = () => Number(context.meter.bytes) - skippedBytes
    const tools = { hasher, threads, memory, pool, budget, signal, connection, countMoved }
    const reading = { source, plan, ...tools }
    const parts =
      pool === undefined ? readTwice(reading, 1, budget.requests) : readBuffered(reading)
    for await (const read of parts) {
      const task = deliver(read)
        .catch((error: unknown) => failure.abort(error))
        .finally(() => running.delete(task))
      running.add(task)
    }
    return await untilAborted(hasher.finish(), signal)
  }
  const digest = await pass().catch((error: unknown) => failure.abort(error))
  await Promise.all(running)
  // The reason of the first abort is kept: what follows from it is not told.
  if (digest === undefined || failure.signal.aborted) throw failure.signal.reason
  await source.checkEnd(digest.sizeBytes, signal)
  return { digest, sentBytes }
}

/** One part from memory; the whole of a small artifact. */
export function bufferedPart(part: Part, bytes: Uint8Array): OutgoingPart {
  return {
    ...part,
    *chunks() {
      for (let offset = 0; offset < bytes.length; offset += CHUNK_BYTES)
        yield bytes.subarray(offset, offset + CHUNK_BYTES)
    },
    rehash: async () => sha256Of(bytes),
    changed: (found) =>
      new ArtifactError(
        'part_mismatch',
        `Cannot send part ${part.number}: its bytes changed in the memory of this machine`,
        { expected: part.sha256, found },
      ),
  }
}

interface Reading {
  source: Source
  plan: SendPlan
  hasher: SpreadHasher
  threads: ThreadCount
  memory: TransferMemory
  pool: (BufferPool & { sizeBytes: number }) | undefined
  budget: Budget
  signal: AbortSignal
  /** Who waits for memory for the patience of this has a slow network. */
  connection: Connection
  /** Bytes that went out so far. */
  countMoved: () => number
}

/** Buffers for the parts, or none when a part takes more than half of the memory. */
function createPool(
  budget: Budget,
  { take }: TransferMemory,
  source: Source,
  { partSizeBytes }: SendPlan,
): Reading['pool'] {
  const { memory } = budget
  const sizeBytes =
    source.sizeBytes !== undefined && source.sizeBytes < BigInt(partSizeBytes)
      ? Math.max(1, Number(source.sizeBytes))
      : partSizeBytes
  const mostBytes = Math.min(memory.total, 2 * LARGE_PART_BYTES)
  if (source.kind === 'file' && sizeBytes * 2 > mostBytes) return undefined
  if (sizeBytes > memory.total)
    throw new ArtifactError(
      'usage',
      'Cannot upload the stream: a part of it does not fit into the memory allowed',
      { expected: `at least ${sizeBytes} bytes of memory`, found: `${memory.total} bytes` },
    )
  const count = countBuffers(budget, sizeBytes)
  return Object.assign(createBufferPool(memory, sizeBytes, count, take), { sizeBytes })
}

/** Whether the store holds the part; throws when it holds another one in its place. */
function isSkipped({ held, isSending }: SendPlan, part: Part): boolean {
  if (!isSending) return true
  const sha256 = held.get(part.number)
  if (sha256 === undefined) return false
  if (sha256 === part.sha256) return true
  throw new ArtifactError(
    'part_conflict',
    `Cannot go on with the upload: part ${part.number} is not what was sent before`,
    { expected: sha256, found: part.sha256 },
  )
}

async function* readBuffered(reading: Reading): AsyncGenerator<ReadPart> {
  const { source, plan, hasher, pool, budget, signal } = reading
  if (pool === undefined) return
  const beganAtMs = performance.now()
  const count = countKnown(source, plan)
  for (let number = 1; count === undefined || number <= count; number++) {
    if (signal.aborted) throw interrupted(signal.reason)
    const buffer = await acquireUnlessSlow(pool, reading, beganAtMs)
    // Many requests side by side make up for it, and memory for none of them.
    if (buffer === undefined) return yield* readTwice(reading, number, budget.farRequests)
    const filled = await fillBuffer(source, buffer, hasher, signal)
    if (filled === 0) return pool.release(buffer)
    if (number > PARTS_MAX) throw tooManyParts(plan)
    const bytes = buffer.subarray(0, filled)
    const part = hasher.endPart()
    const isShort = filled < plan.partSizeBytes
    // A file that ends early is noticed before its last part goes out.
    if (isShort && source.kind === 'file') await source.checkEnd(hasher.sizeBytes, signal)
    yield {
      part,
      toOutgoing: (described) => bufferedPart(described, bytes),
      settled: hasher.settled(),
      lanes: budget.requests,
      release: () => pool.release(buffer),
    }
    if (isShort) return
  }
}

/** A buffer; `undefined` when a file waits for one since the network is slow: it can do without. */
async function acquireUnlessSlow(
  pool: BufferPool,
  { source, signal, connection, countMoved }: Reading,
  beganAtMs: number,
): Promise<Uint8Array | undefined> {
  const ready = pool.tryAcquire()
  if (ready !== undefined || source.kind !== 'file') return ready ?? pool.acquire(signal)
  for (;;) {
    const patience = AbortSignal.timeout(patienceMs(connection))
    try {
      return await pool.acquire(AbortSignal.any([signal, patience]))
    } catch (error) {
      if (signal.aborted || !patience.aborted) throw error
      if (isSlow(connection.timing, countMoved(), beganAtMs)) return undefined
    }
  }
}

/** Parts from `first` on that no memory is for: hashed in one reading of the file, sent in another. */
async function* readTwice(reading: Reading, first: number, lanes: Lanes): AsyncGenerator<ReadPart> {
  const { source, plan, hasher, memory, threads, signal } = reading
  if (source.kind !== 'file') return
  // One part ahead of those on their way: no more than that is hashed before it can be sent.
  const ahead = createSemaphore(lanes.total + 1)
  const pieces = { ...reading, turns: createTurns(memory, threads) }
  const parts = planParts(source.sizeBytes, plan.partSizeBytes).slice(first - 1)
  for (const { offset, sizeBytes } of parts) {
    await ahead.acquire(1, signal)
    await hashPart(pieces, sizeBytes)
    yield {
      part: hasher.endPart(),
      toOutgoing: (described) => filePart(source, described, offset),
      settled: Promise.resolve(),
      lanes,
      release: () => ahead.release(1),
    }
  }
}

/** A part that is read from the file whenever its bytes are wanted. */
function filePart(source: FileSource, part: Part, offset: bigint): OutgoingPart {
  async function* chunks(): AsyncGenerator<Uint8Array> {
    const buffers: Buffer[] = []
    for (let done = 0, turn = 0; done < part.sizeBytes; turn = (turn + 1) % FILE_CHUNKS) {
      const buffer = buffers[turn] ?? Buffer.allocUnsafeSlow(FILE_CHUNK_BYTES)
      buffers[turn] = buffer
      // Were it written over too soon, the store would refuse the part: its digest is known by now.
      const chunk = buffer.subarray(0, part.sizeBytes - done)
      const read = await source.readAt(chunk, offset + BigInt(done))
      if (read < chunk.length)
        throw sourceChanged(source.path, `${part.sizeBytes} bytes`, `${done + read} bytes`)
      yield chunk
      done += read
    }
  }
  return {
    ...part,
    chunks,
    async rehash() {
      const hash = createHash('sha256')
      for await (const chunk of chunks()) hash.update(chunk)
      return hash.digest('hex')
    },
    changed: (found) => sourceChanged(source.path, part.sha256, found),
  }
}

function countKnown(source: Source, plan: SendPlan): number | undefined {
  if (source.sizeBytes === undefined) return undefined
  const count = countParts(source.sizeBytes, plan.partSizeBytes)
  if (count > PARTS_MAX) throw tooManyParts(plan)
  return count
}

function tooManyParts(plan: SendPlan): ArtifactError {
  const most = BigInt(PARTS_MAX) * BigInt(plan.partSizeBytes)
  return new ArtifactError('limit_exceeded', 'Cannot upload: there are too many parts', {
    expected: `at most ${PARTS_MAX} parts of ${plan.partSizeBytes} bytes (${most} bytes)`,
    found: `more than ${most} bytes`,
  })
}
