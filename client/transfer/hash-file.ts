/** Reading a local file for its digests. */
import { type ContentDigest, createContentHasher } from '../verify/digest.ts'
import { interrupted } from './interruption.ts'
import { createMeter } from './meter.ts'
import type { OnProgress } from './progress.ts'
import { openFileSource } from './source.ts'

const READ_BYTES = 1024 ** 2

export interface HashFileOptions {
  /** What the progress is told of. */
  reference: string
  partSizeBytes: number
  /** Told the size before anything is read; may throw. */
  checkSize: (found: { sizeBytes: bigint }) => void
  signal: AbortSignal
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
  const hasher = createContentHasher(options.partSizeBytes)
  const buffer = Buffer.allocUnsafeSlow(READ_BYTES)
  for (;;) {
    if (signal.aborted) throw interrupted(signal.reason)
    const read = await source.read(buffer, signal)
    hasher.update(buffer.subarray(0, read))
    meter.skip(read)
    if (read < buffer.length) break
  }
  const digest = hasher.finish()
  await source.checkEnd(digest.sizeBytes, signal)
  return digest
}
