/**
 * Threads that read large blobs and hash them, so that a server reads as many at once as it has cores
 * and answers requests meanwhile. Nothing but numbers and the digest goes between a thread and the rest
 * of the process: it reads from the store itself (`hash-jobs.ts`).
 *
 * They start when something large is read, take blobs in turns when there are more of them than threads,
 * and end when nothing was read for a while.
 */
import { availableParallelism } from 'node:os'
import { z } from 'zod'
import { spawnThread } from '../../client/disk/thread.ts'
import { ArtifactError } from '../../schemas/problems.ts'

export interface HashThreadSettings {
  /** What is smaller is not worth the way to a thread, in bytes. */
  fromBytes: bigint
  /** Threads at most. One core is left to everything else. */
  threadsMax: number
  /** Read and hashed in one go: the others on a thread wait so long, and progress is told so often, in ms. */
  stretchMs: number
  /** A thread that has had nothing to do for so long ends, in ms. */
  idleMs: number
}

/** What threads run, which shares its types with whoever starts it. */
export interface HashProgram {
  /** Name of the module beside this one, without its extension. */
  name: string
  /** What it is started with, beyond what all are. */
  data?: object
  /** Answers what it asks. */
  onQuestion?: (question: unknown) => Promise<unknown>
  /** Called when no such thread is left: whatever one of them held is held no more. */
  onNoneLeft?: () => void
}

export interface HashListener {
  /** Hears how many bytes have been read, and is waited for. */
  onProgress(bytes: bigint): Promise<void>
  signal?: AbortSignal | undefined
}

/** What was read, to its end. */
export interface HashedBytes {
  sizeBytes: number
  /** Hexadecimal. */
  sha256: string
}

/** The threads of a store, which hash what a `Source` names. */
export interface HashThreads<Source> extends AsyncDisposable {
  /** Whether a blob of this size should be hashed here. */
  takes(sizeBytes: bigint): boolean
  /**
   * Reads all of it and hashes it; `undefined` when it should rather be read without a thread. Throws
   * what reading throws, with its code, `store_unavailable` when the thread is gone, what `onProgress`
   * throws, and the reason of the signal. The thread lets go of the source before that.
   */
  hash(source: Source, listener: HashListener): Promise<HashedBytes | undefined>
}

const DEFAULT_SETTINGS: HashThreadSettings = {
  fromBytes: 16n * 1024n ** 2n,
  threadsMax: Math.max(1, availableParallelism() - 1),
  stretchMs: 20,
  idleMs: 10_000,
}

/** No thread runs before it is needed. Disposing of them breaks off what they do. */
export function createHashThreads<Source extends object>(
  program: HashProgram,
  settings: Partial<HashThreadSettings> = {},
): HashThreads<Source> {
  const chosen = { ...DEFAULT_SETTINGS, ...settings }
  const threads = new Set<Thread<Source>>()
  const start = () => {
    const thread = startThread<Source>(program, chosen, () => {
      threads.delete(thread)
      if (threads.size === 0) program.onNoneLeft?.()
    })
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
    async hash(source, listener) {
      listener.signal?.throwIfAborted()
      using job = choose().begin(source)
      return await follow(job, listener)
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([...threads].map((thread) => thread.end()))
    },
  }
}

/** Has one stretch read while the one before is told of. */
async function follow(
  job: Job,
  { onProgress, signal }: HashListener,
): Promise<HashedBytes | undefined> {
  let ahead = job.next()
  try {
    for (;;) {
      const stretch = await ahead
      signal?.throwIfAborted()
      if ('isNotForThreads' in stretch) return undefined
      const { done: sizeBytes, sha256 } = stretch
      if (sha256 === undefined) {
        ahead = job.next()
        // It is waited for in its turn; a failure before that is not lost.
        ahead.catch(() => undefined)
      }
      await onProgress(BigInt(sizeBytes))
      if (sha256 !== undefined) return { sizeBytes, sha256 }
    }
  } finally {
    job.stop()
    // Until then the thread reads from what it was given, which nobody may close.
    await ahead.catch(() => undefined)
  }
}

interface Job extends Disposable {
  /** The next stretch; one at a time. */
  next(): Promise<Stretch>
  /** Nothing further is wanted. */
  stop(): void
}

interface Thread<Source> {
  /** Sources that are being hashed. */
  readonly jobs: number
  begin(source: Source): Job
  end(): Promise<unknown>
}

/** How far it is; with the digest when that was all. */
const Progress = z.object({ done: z.int(), sha256: z.string().optional() })
const Refusal = z.object({ isNotForThreads: z.literal(true) })
const Stretch = z.union([Progress, Refusal])
type Stretch = z.infer<typeof Stretch>
const Fault = z.union([
  z.object({ problem: z.string(), found: z.string().optional() }),
  z.object({ error: z.instanceof(Error), code: z.string().optional() }),
])
/** What the thread answers, and what it asks. */
const Message = z.union([
  z.object({ job: z.int(), answer: z.union([Stretch, Fault]) }),
  z.object({ question: z.unknown() }),
])

function startThread<Source extends object>(
  { name, data, onQuestion }: HashProgram,
  { stretchMs, idleMs }: HashThreadSettings,
  onEnd: () => void,
): Thread<Source> {
  const worker = spawnThread(import.meta.url, name, { ...data, stretchMs })
  const asked = new Map<number, PromiseWithResolvers<Stretch>>()
  let jobs = 0
  let begun = 0
  let ending: ArtifactError | undefined
  let idle: NodeJS.Timeout | undefined
  const finish = (cause?: unknown) => {
    ending ??= gone(cause)
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
  worker.on('message', (text: unknown) => {
    const message = Message.parse(text)
    if ('question' in message)
      return void onQuestion?.(message.question).then((other) => worker.postMessage({ other }))
    const waiting = asked.get(message.job)
    asked.delete(message.job)
    const { answer } = message
    if ('problem' in answer || 'error' in answer) waiting?.reject(faultOf(answer))
    else waiting?.resolve(answer)
  })
  const ask = (job: number, source: Source) => {
    const answer = Promise.withResolvers<Stretch>()
    if (ending === undefined) {
      asked.set(job, answer)
      worker.postMessage({ job, source })
    } else answer.reject(ending)
    return answer.promise
  }
  const leave = () => {
    jobs -= 1
    if (ending !== undefined || jobs > 0) return
    worker.unref()
    idle = setTimeout(retire, idleMs).unref()
  }
  return {
    get jobs() {
      return jobs
    },
    begin(source) {
      const job = begun++
      jobs += 1
      clearTimeout(idle)
      worker.ref()
      return {
        next: () => ask(job, source),
        stop: () => worker.postMessage({ job, isOver: true }),
        [Symbol.dispose]: leave,
      }
    },
    end: () => worker.terminate(),
  }
}

function gone(cause: unknown): ArtifactError {
  return new ArtifactError(
    'store_unavailable',
    'Cannot read stored bytes: the thread that hashes them has ended',
    { cause },
  )
}

function faultOf(fault: z.infer<typeof Fault>): Error {
  if ('error' in fault) return Object.assign(fault.error, { code: fault.code })
  const { problem, found } = fault
  return new ArtifactError('store_unavailable', problem, found === undefined ? {} : { found })
}
