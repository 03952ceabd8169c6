/**
 * The verifier: whether some bytes are the artifact that the record speaks of, and whether the record
 * is what the log says. Pure, and the same for everybody: the client judges what it received by it,
 * the server what it stores.
 *
 * It reads as named steps; the first that fails throws. From the bytes upwards each one leans on the
 * next: size, part digests and digest on the record, the record on its leaf, the leaf on a signed
 * head, the head on the history that was seen.
 */
import type { Artifact, Part } from '../../schemas/artifact.ts'
import { countParts, rangeOfPart } from '../../schemas/part-plan.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { openCheckpoint } from './checkpoint.ts'
import { type ContentDigest, EMPTY_SHA256 } from './digest.ts'
import { checkLeaf, parseSealLeaf } from './leaf.ts'
import type { Policy } from './policy.ts'
import { type CheckedReceipt, checkReceipt, parseReceipt } from './proof.ts'

/** What the record says of an artifact. */
export interface ContentClaim {
  record: Pick<Artifact, 'reference' | 'sha256' | 'sizeBytes' | 'partSizeBytes' | 'partCount'>
  /** The part digests, in order. */
  parts: readonly Part[]
}

const STEPS = [
  { check: 'record', run: checkRecord },
  { check: 'size', run: checkSize },
  { check: 'parts', run: checkParts },
  { check: 'sha256', run: checkSha256 },
] as const

/** The checks against the log, from the record upwards. */
export const LOG_CHECKS = ['leaf', 'inclusion', 'signature', 'history'] as const
export type LogCheck = (typeof LOG_CHECKS)[number]

/** A check that was made, by name. */
export type Check = (typeof STEPS)[number]['check'] | LogCheck

/** Every check of the bytes, in the order in which they are made. */
export const CHECKS: readonly Check[] = STEPS.map((step) => step.check)

/**
 * Checks what was found against the claim, and names the checks that were made.
 * Throws `bad_reply`, `size_mismatch`, `part_mismatch` or `digest_mismatch`, with both values.
 */
export function verifyContent(claim: ContentClaim, found: ContentDigest): Check[] {
  return STEPS.map((step) => {
    step.run(claim, found)
    return step.check
  })
}

/**
 * {@link verifyContent} for content of which only the whole was hashed. The part digests are needed to
 * release a part before the others are there, and to find the one that is corrupt: when the size and
 * the SHA-256 of the whole are the recorded ones, the bytes are, and the parts with them.
 */
export function verifyWhole(
  claim: ContentClaim,
  found: Pick<ContentDigest, 'sizeBytes' | 'sha256'>,
): Check[] {
  checkRecord(claim)
  checkSize(claim, found)
  checkSha256(claim, found)
  return ['record', 'size', 'sha256']
}

/**
 * Checks signature, inclusion and leaf, in this order: a leaf that differs from the record accuses
 * somebody only when the log is known to have it. Throws `log_malformed`, `log_signature`,
 * `log_policy`, `log_inclusion`, `log_missing`, or `log_record` with both values. What is left is the
 * history: how the head in the result relates to those that were seen. `open` may remember what
 * {@link openCheckpoint} said of the very same note and policy.
 */
export function verifyReceipt(
  { record, parts }: { record: Artifact; parts: readonly Part[] },
  receipt: string | Uint8Array,
  policy: Policy,
  open: typeof openCheckpoint = openCheckpoint,
): CheckedReceipt {
  const checked = checkReceipt(parseReceipt(receipt), undefined, policy, open)
  checkLeaf(parseSealLeaf(checked.leaf), record, parts)
  return checked
}

/**
 * Whether the record agrees with itself: as many parts as its size asks for, each of its size and in
 * its place, and a digest of the whole that the only part has too. Throws `bad_reply`.
 */
export function checkRecord({ record, parts }: ContentClaim): void {
  const sizeBytes = BigInt(record.sizeBytes)
  const count = countParts(sizeBytes, record.partSizeBytes)
  if (record.partCount !== count || parts.length !== count)
    throw inconsistent(
      record,
      `${count} parts`,
      `${record.partCount}, with ${parts.length} digests`,
    )
  parts.forEach((part, index) => {
    const range = rangeOfPart(sizeBytes, record.partSizeBytes, index + 1)
    if (part.number === range.number && part.sizeBytes === range.sizeBytes) return
    throw inconsistent(
      record,
      `part ${range.number} of ${range.sizeBytes} bytes`,
      `part ${part.number} of ${part.sizeBytes} bytes`,
    )
  })
  const only = count === 0 ? EMPTY_SHA256 : parts[0]?.sha256
  if (count <= 1 && only !== record.sha256)
    throw inconsistent(record, `sha256 ${only} of the whole, as of its only part`, record.sha256)
}

/** Throws `size_mismatch` unless as many bytes were found as the record says. */
export function checkSize({ record }: ContentClaim, found: Pick<ContentDigest, 'sizeBytes'>): void {
  if (found.sizeBytes === BigInt(record.sizeBytes)) return
  throw new ArtifactError('size_mismatch', `Cannot accept ${record.reference}: the size differs`, {
    expected: `${record.sizeBytes} bytes`,
    found: `${found.sizeBytes} bytes`,
  })
}

/** Throws `part_mismatch` for the first part whose digest is not the recorded one. */
export function checkParts({ record, parts }: ContentClaim, found: ContentDigest): void {
  parts.forEach((part, index) => {
    checkPart(record.reference, part, found.parts[index]?.sha256)
  })
}

/** Throws `part_mismatch` unless `foundSha256` is the recorded digest of the part. */
export function checkPart(reference: string, part: Part, foundSha256: string | undefined): void {
  if (foundSha256 === part.sha256) return
  throw new ArtifactError(
    'part_mismatch',
    `Cannot accept ${reference}: the SHA-256 of part ${part.number} differs`,
    { expected: part.sha256, found: foundSha256 ?? 'no such part' },
  )
}

/** Throws `digest_mismatch` unless the whole has the recorded SHA-256. */
export function checkSha256({ record }: ContentClaim, found: Pick<ContentDigest, 'sha256'>): void {
  if (found.sha256 === record.sha256) return
  throw new ArtifactError(
    'digest_mismatch',
    `Cannot accept ${record.reference}: the SHA-256 differs`,
    {
      expected: record.sha256,
      found: found.sha256,
    },
  )
}

function inconsistent(
  record: ContentClaim['record'],
  expected: string,
  found: string,
): ArtifactError {
  return new ArtifactError(
    'bad_reply',
    `Cannot accept ${record.reference}: its record disagrees with itself`,
    { expected, found },
  )
}
