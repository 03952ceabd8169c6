/**
 * SHA-256 of bytes where they lie in shared memory, taken by a thread of its own.
 */
import { ArtifactError } from '../../schemas/problems.ts'
import { spawnThread } from '../disk/thread.ts'

/** A chain of bytes that is hashed, and then the next one. */
export interface ChainHasher extends AsyncDisposable {
  /** The next bytes; they stay as they are until what `settled` then promises. */
  update(bytes: Uint8Array): void
  /** Lower-case hexadecimal SHA-256 of all since the last digest. */
  digest(): Promise<string>
  /** Resolves once everything so far is hashed. */
  settled(): Promise<unknown>
}

/**
 * Starts a thread that hashes what lies in shared memory. What is still asked for when the thread ends
 * throws `local_io`.
 */
export function openMemoryHasher(): ChainHasher {
  const thread = spawnThread(import.meta.url, 'memory-hasher-thread')
  const asked: PromiseWithResolvers<string>[] = []
  let end: ArtifactError | undefined
  const fail = (cause?: unknown) => {
    end ??= new ArtifactError('local_io', 'Cannot hash: the thread for it has ended', { cause })
    for (const { reject } of asked.splice(0)) reject(end)
  }
  // In the order of the questions.
  thread.on('message', (answer: unknown) => asked.shift()?.resolve(String(answer)))
  thread.once('error', fail)
  thread.once('exit', () => fail())
  const ask = (question: 'digest' | 'settled'): Promise<string> => {
    const answer = Promise.withResolvers<string>()
    if (end === undefined) asked.push(answer)
    else answer.reject(end)
    thread.postMessage(question)
    return answer.promise
  }
  return {
    update: (bytes) => thread.postMessage(bytes),
    digest: () => ask('digest'),
    settled: () => ask('settled'),
    async [Symbol.asyncDispose]() {
      await thread.terminate()
    },
  }
}
