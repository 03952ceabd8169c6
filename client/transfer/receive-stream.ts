/**
 * Bytes on their way down as one stream: they go to the disk as they come, and a thread that follows
 * hashes the whole there, once. Nobody but this process may have a hand in the file meanwhile.
 *
 * The part digests come in only when the whole is wrong: they say which part to fetch again.
 */
import { createHash } from 'node:crypto'
import type { Part } from '../../schemas/artifact.ts'
import { rangeOfPart } from '../../schemas/part-plan.ts'
import { openFileHasher } from '../disk/file-hasher.ts'
import type { Scratch } from '../disk/quarantine.ts'
import type { ContentDigest } from '../verify/digest.ts'
import { checkPart } from '../verify/verifier.ts'
import type { Range } from './content.ts'
import { fetchRun } from './fetch-run.ts'
import { untilAborted } from './interruption.ts'
import { type KeptParts, REFETCH_MAX, type ReceiveContext, readThrough } from './receive.ts'
import type { RecordClaim } from './record.ts'

/** From this size on the start of a thread costs less than a second hash of every byte. */
export const STREAM_FROM_BYTES = 64 * 1024 ** 2
/** Its buffers, and the thread that hashes. */
const STREAM_MEMORY_BYTES = 32 * 1024 ** 2
/** What may wait for the disk before it is pushed there. */
const FLUSH_BYTES = 256 * 1024 ** 2

/**
 * Fetches what is not kept into the scratch, and answers the digest of what then lies there: of the
 * whole, and of the parts if they are asked for. A part that arrived corrupt is fetched again.
 *
 * Throws `part_mismatch` for a part that is corrupt again and again.
 */
export async function receiveStream(
  context: ReceiveContext,
  scratch: Scratch,
  kept: KeptParts,
  { withParts }: { withParts: boolean },
): Promise<ContentDigest> {
  const { claim, signal } = context
  const { record } = claim
  const partSizeBytes = withParts ? record.partSizeBytes : undefined
  const hash = async (follow: (follower: Follower) => Promise<void>) => {
    await using hasher = openFileHasher({ fd: scratch.fd, partSizeBytes })
    await follow(hasher)
    hasher.follow(Number(record.sizeBytes))
    return await untilAborted(hasher.finish(), signal)
  }
  const { memory } = context.budget
  const memoryBytes = Math.min(STREAM_MEMORY_BYTES, memory.total)
  await memory.acquire(memoryBytes, signal)
  try {
    const digest = await hash((follower) => fetchMissing(context, scratch, kept, follower))
    if (digest.sha256 === record.sha256) return digest
    await mend(context, scratch)
    return await hash(async () => undefined)
  } finally {
    memory.release(memoryBytes)
  }
}

type Follower = Pick<ReturnType<typeof openFileHasher>, 'follow'>

async function fetchMissing(
  context: ReceiveContext,
  scratch: Scratch,
  kept: KeptParts,
  follower: Follower,
): Promise<void> {
  const { claim, meter } = context
  const flusher = createFlusher(scratch)
  try {
    for (const run of listMissing(claim, kept)) {
      // All before this run is kept, or came in an earlier one.
      const landed = (end: bigint, count: number) => {
        meter.move(count)
        meter.settle(count)
        follower.follow(Number(end))
        flusher.wrote(count)
      }
      await fetchRun(context, scratch, run, landed)
    }
  } finally {
    await flusher.end()
  }
}

/** The runs of parts that are not kept, each as one range, in order. */
function listMissing({ record, parts }: RecordClaim, kept: KeptParts): Range[] {
  const runs: Range[] = []
  let last: Range | undefined
  for (const part of parts) {
    if (kept.numbers.has(part.number)) {
      last = undefined
      continue
    }
    const { offset, sizeBytes } = place(record, part)
    if (last === undefined) {
      last = { offset, sizeBytes }
      runs.push(last)
    } else last.sizeBytes += sizeBytes
  }
  return runs
}

/** The disk writes while more bytes come, instead of after the last one. */
function createFlusher(scratch: Scratch) {
  let unflushed = 0
  let flushing: Promise<void> | undefined
  return {
    wrote(count: number): void {
      unflushed += count
      if (unflushed < FLUSH_BYTES || flushing !== undefined) return
      unflushed = 0
      // What fails here fails again when the file is published, and is told then.
      flushing = scratch
        .flush()
        .catch(() => undefined)
        .finally(() => {
          flushing = undefined
        })
    },
    async end(): Promise<void> {
      await flushing
    },
  }
}

/** Fetches the parts again whose digest in the scratch is not the recorded one. */
async function mend(context: ReceiveContext, scratch: Scratch): Promise<void> {
  for (const part of context.claim.parts) {
    let found = await hashPart(context, scratch, part)
    for (let fetched = 0; found !== part.sha256; fetched++) {
      if (fetched >= REFETCH_MAX) checkPart(context.claim.record.reference, part, found)
      await refetch(context, scratch, part)
      found = await hashPart(context, scratch, part)
    }
  }
}

async function hashPart(
  { claim, signal }: ReceiveContext,
  scratch: Scratch,
  part: Part,
): Promise<string> {
  const hash = createHash('sha256')
  const { offset } = place(claim.record, part)
  await readThrough(scratch, offset, part.sizeBytes, (chunk) => void hash.update(chunk), signal)
  return hash.digest('hex')
}

async function refetch(
  { claim, content, budget, meter, signal }: ReceiveContext,
  scratch: Scratch,
  part: Part,
): Promise<void> {
  const range = place(claim.record, part)
  let end = range.offset
  meter.move(-part.sizeBytes)
  const write = async (chunk: Uint8Array) => {
    await scratch.write(chunk, end)
    end += BigInt(chunk.length)
    meter.move(chunk.length)
  }
  await budget.requests.run(signal, (crowded) => content.read(range, write, signal, { crowded }))
}

function place(record: RecordClaim['record'], part: Part) {
  return rangeOfPart(BigInt(record.sizeBytes), record.partSizeBytes, part.number)
}
