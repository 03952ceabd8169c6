/**
 * The SHA-256 of a file that is still being written, taken by a thread of its own from the file
 * itself: the thread follows the writer, so that the digest is known soon after the last byte.
 *
 * What is hashed is what reading the file gives, not what was handed to a write.
 */
import { z } from 'zod'
import type { ContentDigest } from '../verify/digest.ts'
import { spawnThread } from './thread.ts'

/** Less is not worth a message. */
const STEP_BYTES = 1024 ** 2

export interface FileHasher extends AsyncDisposable {
  /** The first `sizeBytes` bytes are in the file and stay as they are. It never goes back. */
  follow(sizeBytes: number): void
  /**
   * The digests of all that was followed; call it once. Throws what reading the file throws, and an
   * error when the file ends before.
   */
  finish(): Promise<ContentDigest>
}

export interface FileHasherOptions {
  /** An open file; it must stay open until the hasher is disposed of. */
  fd: number
  /** Hash every part of this size as well; absent: only the whole, and no parts in the digest. */
  partSizeBytes?: number | undefined
}

/** What the thread answers. */
const Answer = z.union([
  z.object({
    sizeBytes: z.bigint(),
    sha256: z.string(),
    parts: z.array(z.object({ number: z.int(), sizeBytes: z.int(), sha256: z.string() })),
  }),
  z.object({ error: z.instanceof(Error) }),
])

/** Starts a thread that hashes an open file from its first byte on. */
export function openFileHasher({ fd, partSizeBytes }: FileHasherOptions): FileHasher {
  const { promise, resolve, reject } = Promise.withResolvers<ContentDigest>()
  // Whoever gives up never asks for the digest.
  promise.catch(() => undefined)
  const thread = spawnThread(import.meta.url, 'file-hasher-thread', { fd, partSizeBytes })
  thread.once('message', (message: unknown) => {
    const answer = Answer.parse(message)
    if ('error' in answer) reject(answer.error)
    else resolve(answer)
  })
  thread.once('error', reject)
  thread.once('exit', () => reject(new Error('The thread that hashes a file has ended')))
  let told = 0
  let known = 0
  const tell = () => {
    if (known > told) thread.postMessage({ sizeBytes: known })
    told = known
  }
  return {
    follow(sizeBytes) {
      known = Math.max(known, sizeBytes)
      if (known - told >= STEP_BYTES) tell()
    },
    finish() {
      tell()
      thread.postMessage({ end: true })
      return promise
    },
    async [Symbol.asyncDispose]() {
      await thread.terminate()
    },
  }
}
