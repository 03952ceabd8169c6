import type { Artifact } from '../../schemas/artifact.ts'
import type { Check } from '../verify/verifier.ts'
import type { Connection } from './connection.ts'
import type { GetReference } from './get.ts'
import type { OnProgress } from './progress.ts'

export interface VerifyFileOptions {
  signal?: AbortSignal | undefined
  onProgress?: OnProgress | undefined
}

export interface VerifyFileResult {
  artifact: Artifact
  /** What was checked, in order. */
  checks: Check[]
}

/** Checks a local file against the record. Throws `size_mismatch`, `part_mismatch` or `digest_mismatch`. */
export async function verifyFile(
  _connection: Connection,
  _path: string,
  _reference: GetReference,
  _options: VerifyFileOptions = {},
): Promise<VerifyFileResult> {
  throw new Error('unfinished')
}
