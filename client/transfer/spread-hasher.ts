/**
 * The digests of an artifact as its bytes go by, on as many cores as pay. The whole is one chain, which
 * nothing can divide: a thread hashes it from beginning to end. The parts are hashed beside it, from
 * the same memory.
 */
import { createHash } from 'node:crypto'
import { availableParallelism } from 'node:os'
import type { Part } from '../../schemas/artifact.ts'
import { type ContentDigest, createContentHasher, EMPTY_SHA256 } from '../verify/digest.ts'
import { type ChainHasher, openMemoryHasher } from './memory-hasher.ts'

/** From this size on threads save more than their start costs. */
const THREADS_FROM_BYTES = 64 * 1024 ** 2

/** Digests of a stream of bytes; give it every byte once, in order. */
export interface SpreadHasher extends AsyncDisposable {
  /** Bytes seen so far. */
  readonly sizeBytes: bigint
  /** The next bytes, none beyond the end of a part; they stay as they are until `settled`. */
  update(bytes: Uint8Array): void
  /** Ends the part, which has a byte at least; its digest may come after bytes of the next one are given. */
  endPart(): Promise<Part>
  /** Resolves once everything so far is hashed; of a stream that is shorter than a part at its end. */
  settled(): Promise<void>
  /** Everything; call it once, after the end of the last part. */
  finish(): Promise<ContentDigest>
}

export interface SpreadOptions {
  partSizeBytes: number
  /** `undefined` while it is not known: then no thread starts before a part is full. */
  sizeBytes: bigint | undefined
  threads: ThreadCount
}

/** Threads that hash, besides the one that asks: the first has the whole, the second the parts. */
export type ThreadCount = 0 | 1 | 2

/** How many pay for so many bytes (`undefined`: not known beforehand) on a machine of so many cores. */
export function countThreads(
  sizeBytes: bigint | undefined,
  cores = availableParallelism(),
): ThreadCount {
  if (cores === 1 || (sizeBytes !== undefined && sizeBytes < THREADS_FROM_BYTES)) return 0
  // With two, one of them is busy with the sockets and the parts.
  return cores === 2 ? 1 : 2
}

/**
 * A hasher for an artifact that is cut into parts of `partSizeBytes`, the last one shorter. With threads the
 * bytes have to lie in shared memory. Throws `local_io` from what is asked when a thread ends.
 */
export function openSpreadHasher(options: SpreadOptions): SpreadHasher {
  return options.threads === 0 ? hashHere(options) : hashOnThreads(options)
}

function hashHere({ partSizeBytes }: SpreadOptions): SpreadHasher {
  const hasher = createContentHasher(partSizeBytes)
  let ended = 0
  return {
    get sizeBytes() {
      return hasher.sizeBytes
    },
    update: (bytes) => hasher.update(bytes),
    async endPart() {
      const place = ended++
      // A short one is the last of all, and ends there.
      const part = hasher.parts[place] ?? hasher.fork().finish().parts[place]
      if (part === undefined) throw new Error(`Part ${ended} was not hashed`)
      return part
    },
    async settled() {},
    finish: async () => hasher.finish(),
    async [Symbol.asyncDispose]() {},
  }
}

function hashOnThreads(options: SpreadOptions): SpreadHasher {
  const { partSizeBytes, sizeBytes: expected, threads } = options
  const { promise: started, resolve: release } = Promise.withResolvers<void>()
  const parts: Promise<Part>[] = []
  /** What came before the threads did: no more than one part. */
  const held: Uint8Array[] = []
  let whole: ChainHasher | undefined
  let part = openChainHere()
  let [total, filled] = [0n, 0]
  const start = (): ChainHasher => {
    const chain = openMemoryHasher()
    if (threads === 2) part = openMemoryHasher()
    for (const bytes of held.splice(0)) chain.update(bytes)
    release()
    return chain
  }
  return {
    get sizeBytes() {
      return total
    },
    update(bytes) {
      if (bytes.length === 0) return
      if (expected !== undefined) whole ??= start()
      if (whole === undefined) held.push(bytes)
      else whole.update(bytes)
      part.update(bytes)
      total += BigInt(bytes.length)
      filled += bytes.length
    },
    endPart() {
      const described = { number: parts.length + 1, sizeBytes: filled }
      const ended = quieten(part.digest().then((sha256) => ({ ...described, sha256 })))
      parts.push(ended)
      // What is full has likely more behind it, and who waits for its memory may have no other.
      if (filled === partSizeBytes) whole ??= start()
      filled = 0
      return ended
    },
    settled: () =>
      quieten(started.then(() => Promise.all([whole?.settled(), part.settled()])).then(() => {})),
    finish() {
      release()
      return quieten(
        Promise.all([whole?.digest(), ...parts]).then(([sha256, ...all]) => ({
          sizeBytes: total,
          // What has not started a thread is one part at most.
          sha256: sha256 ?? all[0]?.sha256 ?? EMPTY_SHA256,
          parts: all,
        })),
      )
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([whole?.[Symbol.asyncDispose](), part[Symbol.asyncDispose]()])
    },
  }
}

/** Whoever gives up never looks at a promise that fails then. */
function quieten<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined)
  return promise
}

/** A chain that is hashed at once, by whoever gives the bytes. */
function openChainHere(): ChainHasher {
  let hash = createHash('sha256')
  return {
    update: (bytes) => void hash.update(bytes),
    async digest() {
      const sha256 = hash.digest('hex')
      hash = createHash('sha256')
      return sha256
    },
    async settled() {},
    async [Symbol.asyncDispose]() {},
  }
}
