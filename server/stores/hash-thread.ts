/** The thread behind `hash-threads.ts`: reads open files when it is told to, and hashes what it reads. */
import { createHash, type Hash } from 'node:crypto'
import { readSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'

/** Small enough to be still in the cache of the core when it is hashed. */
const READ_BYTES = 256 * 1024

// What comes from the other side of this very module is trusted, and nothing is loaded to check it.
interface Order {
  job: number
  fd: number
  sizeBytes: number
}
type Message = Order | { job: number; isOver: true }

interface Job {
  hash: Hash
  done: number
}

const { stretchMs }: { stretchMs: number } = workerData
const buffer = Buffer.allocUnsafeSlow(READ_BYTES)
const jobs = new Map<number, Job>()

parentPort?.on('message', (message: Message) => {
  const { job } = message
  if ('isOver' in message) jobs.delete(job)
  else parentPort?.postMessage({ job, ...obey(message) })
})

function obey(order: Order) {
  try {
    const job = jobs.get(order.job) ?? { hash: createHash('sha256'), done: 0 }
    jobs.set(order.job, job)
    const isCut = readStretch(job, order)
    const sha256 = job.done === order.sizeBytes ? job.hash.digest('hex') : undefined
    return { done: job.done, isCut, sha256 }
  } catch (error) {
    // The code of an error does not survive the way.
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    return { error, code }
  }
}

/** Answers whether the file ended too soon. */
function readStretch(job: Job, { fd, sizeBytes }: Order): boolean {
  const stopMs = performance.now() + stretchMs
  while (job.done < sizeBytes) {
    const read = readSync(fd, buffer, 0, Math.min(buffer.length, sizeBytes - job.done), job.done)
    if (read === 0) return true
    job.hash.update(buffer.subarray(0, read))
    job.done += read
    if (performance.now() >= stopMs) break
  }
  return false
}
