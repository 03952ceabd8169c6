/**
 * What a thread behind `hash-threads.ts` does: it reads what it is told to read, in stretches, and
 * hashes that. Bytes stay in the thread; what goes out is how far it is, and the digest.
 */
import { createHash, type Hash } from 'node:crypto'
import { parentPort, workerData } from 'node:worker_threads'
import { ArtifactError } from '../../schemas/problems.ts'

/** Bytes that are good until the next ones are asked for. */
type Chunks = Iterator<Uint8Array> | AsyncIterator<Uint8Array>

/** Thrown by whoever reads: the rest of the process should read this itself. */
export class NotForThreads extends Error {}

// What comes from the other side of this very module is trusted, and nothing is loaded to check it.
type Message<Source> = { job: number } & ({ source: Source } | { isOver: true })

interface Job {
  chunks: Chunks
  hash: Hash
  done: number
  stop: AbortController
}

/**
 * Hashes what `open` reads, for as long as the thread lives. The signal fires when nobody wants it any
 * more. What of messages is not for jobs, `hear` gets.
 */
export function serveHashJobs<Source, Other = never>(
  open: (source: Source, signal: AbortSignal) => Chunks,
  hear?: (message: Other) => void,
): void {
  const { stretchMs }: { stretchMs: number } = workerData
  const jobs = new Map<number, Job>()
  const begin = (source: Source): Job => {
    const stop = new AbortController()
    return { chunks: open(source, stop.signal), hash: createHash('sha256'), done: 0, stop }
  }
  parentPort?.on('message', async (message: Message<Source> | { other: Other }) => {
    if ('other' in message) return hear?.(message.other)
    const { job } = message
    const known = jobs.get(job)
    if ('source' in message) {
      const one = known ?? begin(message.source)
      jobs.set(job, one)
      parentPort?.postMessage({ job, answer: await hashStretch(one, stretchMs) })
    } else {
      jobs.delete(job)
      known?.stop.abort()
    }
  })
}

async function hashStretch(job: Job, stretchMs: number) {
  const stopMs = performance.now() + stretchMs
  try {
    for (;;) {
      const step = await job.chunks.next()
      if (step.done) return { done: job.done, sha256: job.hash.digest('hex') }
      job.hash.update(step.value)
      job.done += step.value.length
      if (performance.now() >= stopMs) return { done: job.done }
    }
  } catch (error) {
    if (error instanceof NotForThreads) return { isNotForThreads: true }
    // Neither the class of an error nor its code survives the way.
    if (error instanceof ArtifactError) return { problem: error.message, found: error.found }
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    return { error, code }
  }
}
