/** Checking a local file against a receipt, without asking anybody. */
import { ArtifactError } from '../../schemas/problems.ts'
import { digestParts, parseSealLeaf, type SealLeaf } from '../verify/leaf.ts'
import type { Policy } from '../verify/policy.ts'
import { type CheckedReceipt, checkReceipt, parseReceipt } from '../verify/proof.ts'
import { type Check, checkSha256, checkSize } from '../verify/verifier.ts'
import { hashFile } from './hash-file.ts'
import type { OnProgress } from './progress.ts'

export interface VerifyReceiptOptions {
  /** Whose signatures count. */
  policy: Policy
  /** `task/run/name` that it must be [whatever the receipt says]. */
  reference?: string | undefined
  signal?: AbortSignal | undefined
  onProgress?: OnProgress | undefined
}

export interface VerifyReceiptResult extends CheckedReceipt {
  /** What the log says of the file. */
  sealed: SealLeaf
  /** What was checked. A history needs a log that can be asked. */
  checks: Check[]
}

/**
 * Checks that a file is what a receipt proves to be in a log. Throws `log_malformed`,
 * `log_signature`, `log_policy`, `log_inclusion`, `log_missing` or `log_record` for the receipt, and
 * `size_mismatch`, `digest_mismatch` or `part_mismatch` for the file.
 */
export async function verifyFileReceipt(
  path: string,
  receipt: string | Uint8Array,
  { policy, reference, signal = new AbortController().signal, onProgress }: VerifyReceiptOptions,
): Promise<VerifyReceiptResult> {
  const checked = checkReceipt(parseReceipt(receipt), undefined, policy)
  const sealed = parseSealLeaf(checked.leaf)
  if (reference !== undefined && reference !== sealed.name)
    throw new ArtifactError('log_record', `Cannot accept the receipt: it is not of ${reference}`, {
      expected: reference,
      found: sealed.name,
    })
  const claim = { record: { ...sealed, reference: sealed.name, partCount: 0 }, parts: [] }
  const digest = await hashFile(path, {
    reference: sealed.name,
    partSizeBytes: sealed.partSizeBytes,
    checkSize: (found) => checkSize(claim, found),
    signal,
    onProgress,
  })
  checkSize(claim, digest)
  const found = digestParts(digest.parts)
  checkSha256(claim, digest)
  // With the digest of the whole as it is, this accuses the log and not the file.
  if (found !== sealed.partsSha256)
    throw new ArtifactError('part_mismatch', `Cannot accept ${sealed.name}: the parts differ`, {
      expected: sealed.partsSha256,
      found,
    })
  return { ...checked, sealed, checks: ['size', 'parts', 'sha256', 'inclusion', 'signature'] }
}
