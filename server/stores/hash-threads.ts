/**
 * Threads that read large files and hash them, so that a server reads as many at once as it has cores
 * and answers requests meanwhile. Nothing but numbers and the digest goes between a thread and the rest
 * of the process: it reads from the file itself.
 *
 * They start when something large is read, take it in turns in stretches when there are more files
 * than threads, and end when nothing was read for a while.
 */
import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { z } from 'zod'

export interface HashThreadSettings {
  /** What is smaller is not worth the way to a thread, in bytes. */
  fromBytes: bigint
  /** Threads at most. One core is left to everything else. */
  threadsMax: number
  /** Read and hashed in one go: the others on a thread wait so long, and progress is told so often, in ms. */
  stretchMs: number
  /** A thread that has had nothing to do for so long ends, in ms. */
  idleMs: number
  /** What a thread runs. */
  program: URL
}

/** A file to be hashed. */
export interface FileToHash {
  /** Open, and open until {@link HashThreads.hash} is done. */
  fd: number
  sizeBytes: number
}

export interface HashListener {
  /** Hears how many bytes have been read, and is waited for. */
  onProgress(bytes: bigint): Promise<void>
  signal?: AbortSignal | undefined
}

/** What a file turned out to be: the SHA-256 of all of it, hexadecimal, or how far it went. */
export type FileDigest = { isCut: false; sha256: string } | { isCut: true; sizeBytes: number }

/** The threads of a store. */
export interface HashThreads extends AsyncDisposable {
  /** Whether a file of this size should be hashed here. */
  takes(sizeBytes: bigint): boolean
  /**
   * Reads a file from its first byte on and hashes it. Throws what reading throws with its code, an
   * error when the thread is gone, what `onProgress` throws, and the reason of the signal.
   */
  hash(file: FileToHash, listener: HashListener): Promise<FileDigest>
}

// The sources are run as they are, and published as JavaScript.
const EXTENSION = import.meta.url.slice(import.meta.url.lastIndexOf('.'))

const DEFAULT_SETTINGS: HashThreadSettings = {
  fromBytes: 16n * 1024n ** 2n,
  threadsMax: Math.max(1, availableParallelism() - 1),
  stretchMs: 20,
  idleMs: 10_000,
  program: new URL(`./hash-thread${EXTENSION}`, import.meta.url),
}

/** No thread runs before it is needed. Disposing of them breaks off what they do. */
export function createHashThreads(settings: Partial<HashThreadSettings> = {}): HashThreads {
  const chosen = { ...DEFAULT_SETTINGS, ...settings }
  const threads = new Set<Thread>()
  const start = () => {
    const thread = startThread(chosen, () => threads.delete(thread))
    threads.add(thread)
    return thread
  }
  const choose = () => {
    const [idlest] = [...threads].sort((one, other) => one.jobs - other.jobs)
    const isFree = idlest?.jobs === 0 || threads.size >= chosen.threadsMax
    return idlest !== undefined && isFree ? idlest : start()
  }
  return {
    takes: (sizeBytes) => sizeBytes >= chosen.fromBytes,
    async hash(file, listener) {
      listener.signal?.throwIfAborted()
      using job = choose().begin()
      return await follow(job, file, listener)
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([...threads].map((thread) => thread.end()))
    },
  }
}

/** Has one stretch read while the one before is told of. */
async function follow(
  job: Job,
  file: FileToHash,
  { onProgress, signal }: HashListener,
): Promise<FileDigest> {
  let ahead = job.ask(file)
  try {
    for (;;) {
      const { done, isCut, sha256 } = await ahead
      signal?.throwIfAborted()
      const isOver = isCut || sha256 !== undefined
      if (!isOver) {
        ahead = job.ask(file)
        // It is waited for in its turn; a failure before that is not lost.
        ahead.catch(() => undefined)
      }
      await onProgress(BigInt(done))
      if (isCut) return { isCut, sizeBytes: done }
      if (sha256 !== undefined) return { isCut, sha256 }
    }
  } finally {
    // Until then the thread reads from the file, which nobody may close.
    await ahead.catch(() => undefined)
  }
}

interface Job extends Disposable {
  /** The next stretch; one at a time. */
  ask(file: FileToHash): Promise<Progress>
}

interface Thread {
  /** Files that are being hashed. */
  readonly jobs: number
  begin(): Job
  end(): Promise<unknown>
}

const Progress = z.object({
  job: z.int(),
  done: z.int(),
  isCut: z.boolean(),
  sha256: z.string().optional(),
})
type Progress = z.infer<typeof Progress>
/** What the thread answers. */
const Answer = z.union([
  Progress,
  z.object({ job: z.int(), error: z.instanceof(Error), code: z.string().optional() }),
])

function startThread(settings: HashThreadSettings, onEnd: () => void): Thread {
  const { program, stretchMs, idleMs } = settings
  const worker = new Worker(program, {
    workerData: { stretchMs },
    execArgv: [],
    env: {},
    // It holds one buffer and a few numbers.
    resourceLimits: { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 4 },
  })
  const asked = new Map<number, PromiseWithResolvers<Progress>>()
  let jobs = 0
  let begun = 0
  let ending: Error | undefined
  let idle: NodeJS.Timeout | undefined
  const finish = (cause?: unknown) => {
    ending ??= new Error('The thread that hashes files has ended', { cause })
    clearTimeout(idle)
    for (const { reject } of asked.values()) reject(ending)
    asked.clear()
    onEnd()
  }
  /** Nobody begins anything on it from here on, though it takes a moment to end. */
  const retire = () => {
    finish()
    void worker.terminate()
  }
  worker.once('error', finish)
  worker.once('exit', () => finish())
  worker.on('message', (message: unknown) => {
    const answer = Answer.parse(message)
    const waiting = asked.get(answer.job)
    asked.delete(answer.job)
    if ('done' in answer) waiting?.resolve(answer)
    else waiting?.reject(Object.assign(answer.error, { code: answer.code }))
  })
  const ask = (job: number, file: FileToHash) => {
    const answer = Promise.withResolvers<Progress>()
    if (ending === undefined) {
      asked.set(job, answer)
      worker.postMessage({ job, ...file })
    } else answer.reject(ending)
    return answer.promise
  }
  const leave = (job: number) => {
    jobs -= 1
    if (ending !== undefined) return
    worker.postMessage({ job, isOver: true })
    if (jobs > 0) return
    worker.unref()
    idle = setTimeout(retire, idleMs).unref()
  }
  return {
    get jobs() {
      return jobs
    },
    begin() {
      const job = begun++
      jobs += 1
      clearTimeout(idle)
      worker.ref()
      return { ask: (file) => ask(job, file), [Symbol.dispose]: () => leave(job) }
    },
    end: () => worker.terminate(),
  }
}
