import type { Artifact } from '../../schemas/artifact.ts'
import { type Trust, trustOf } from '../trust/trust.ts'
import { createContentHasher } from '../verify/digest.ts'
import { type Check, checkSize, verifyContent } from '../verify/verifier.ts'
import type { Connection } from './connection.ts'
import type { GetReference } from './get-options.ts'
import { interrupted } from './interruption.ts'
import { createMeter } from './meter.ts'
import type { OnProgress } from './progress.ts'
import { fetchClaim, type RecordClaim } from './record.ts'
import { openFileSource } from './source.ts'

const READ_BYTES = 1024 ** 2

export interface VerifyFileOptions {
  /** Judges what the log of the server says [one that lasts as long as the connection]. */
  trust?: Trust | undefined
  signal?: AbortSignal | undefined
  onProgress?: OnProgress | undefined
}

export interface VerifyFileResult {
  artifact: Artifact
  /** What was checked, in order. */
  checks: Check[]
}

/**
 * Checks a local file against the record, and the record against the log when the server has one.
 * Throws what {@link Trust.vouch} throws, `size_mismatch`, `part_mismatch` (which names the
 * first part that differs) or `digest_mismatch`, and `source_changed` when it changes meanwhile.
 */
export async function verifyFile(
  connection: Connection,
  path: string,
  reference: GetReference,
  options: VerifyFileOptions = {},
): Promise<VerifyFileResult> {
  const signal = options.signal ?? new AbortController().signal
  const claim = await fetchClaim(connection, reference, signal)
  const { trust = trustOf(connection) } = options
  const { checks: logChecks } = await trust.vouch(claim, { signal })
  const checks = await verifyLocal(path, claim, { ...options, signal })
  return { artifact: claim.record, checks: [...checks, ...logChecks] }
}

/** {@link verifyFile} against a known record. */
export async function verifyLocal(
  path: string,
  claim: RecordClaim,
  { signal, onProgress }: { signal: AbortSignal; onProgress?: OnProgress | undefined },
): Promise<Check[]> {
  await using source = await openFileSource(path, true)
  // Before hours are spent on the digest of a file that cannot be the one.
  checkSize(claim, { sizeBytes: source.sizeBytes })
  const meter = createMeter(claim.record.reference, onProgress)
  meter.begin('hashing', source.sizeBytes)
  const hasher = createContentHasher(claim.record.partSizeBytes)
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
  return verifyContent(claim, digest)
}
