import type { Artifact } from '../../schemas/artifact.ts'
import { type Trust, trustOf } from '../trust/trust.ts'
import { type Check, checkSize, verifyContent } from '../verify/verifier.ts'
import type { Connection } from './connection.ts'
import type { GetReference } from './get-options.ts'
import { hashFile } from './hash-file.ts'
import type { OnProgress } from './progress.ts'
import { fetchClaim, type RecordClaim } from './record.ts'

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
  const digest = await hashFile(path, {
    reference: claim.record.reference,
    partSizeBytes: claim.record.partSizeBytes,
    checkSize: (found) => checkSize(claim, found),
    signal,
    onProgress,
  })
  return verifyContent(claim, digest)
}
