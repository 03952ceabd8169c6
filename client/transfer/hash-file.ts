/** Reading a local file for its digests. */
import type { ContentDigest } from '../verify/digest.ts'
import { untilAborted } from './interruption.ts'
import { createMeter } from './meter.ts'
import type { OnProgress } from './progress.ts'
import { createTurns, hashPart } from './read-part.ts'
import { openMemory } from './shared-memory.ts'
import { openFileSource } from './source.ts'
import { countThreads, openSpreadHasher, type ThreadCount } from './spread-hasher.ts'

export interface HashFileOptions {
  /** What the progress is told of. */
  reference: string
  partSizeBytes: number
  /** Told the size before anything is read; may throw. */
  checkSize: (found: { sizeBytes: bigint }) => void
  signal: AbortSignal
  /** [{@link countThreads}] */
  hashThreads?: ThreadCount | undefined
  onProgress?: OnProgress | undefined
}

/** The digests of a file. Throws `source_changed` when it changes meanwhile, `local_io`, `interrupted`. */
export async function hashFile(path: string, options: HashFileOptions): Promise<ContentDigest> {
  const { signal } = options
  await using source = await openFileSource(path, true)
  // Before hours are spent on the digest of a file that cannot be the one.
  options.checkSize({ sizeBytes: source.sizeBytes })
  const meter = createMeter(options.reference, options.onProgress)
  meter.begin('hashing', source.sizeBytes)
  const { hashThreads: threads = countThreads(source.sizeBytes) } = options
  using memory = openMemory({ isShared: threads > 0 })
  await using hasher = openSpreadHasher({ ...options, sizeBytes: source.sizeBytes, threads })
  const onRead = (count: number) => meter.skip(count)
  const pieces = { source, turns: createTurns(memory, threads), hasher, signal, onRead }
  for (let left = source.sizeBytes; left > 0n; ) {
    const sizeBytes = left < options.partSizeBytes ? Number(left) : options.partSizeBytes
    await hashPart(pieces, sizeBytes)
    void hasher.endPart()
    left -= BigInt(sizeBytes)
  }
  const digest = await untilAborted(hasher.finish(), signal)
  await source.checkEnd(digest.sizeBytes, signal)
  return digest
}
