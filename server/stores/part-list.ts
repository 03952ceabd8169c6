/** The rules for the parts of one object, the same for every store. */
import type { Part } from '../../schemas/artifact.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { BlobPlan } from './store.ts'

/** What a store knows of a part it holds. */
export interface PartInStore {
  sizeBytes: number
  /** Lower-case hexadecimal, where the store keeps it. */
  sha256?: string | undefined
}

/**
 * The size of an object made of `parts`: numbers 1 to n in order, all of the planned size but the
 * last one. Throws `part_missing` for a gap and `size_mismatch` for a size that breaks the plan.
 */
export function checkPartList(plan: BlobPlan, parts: readonly Part[]): bigint {
  let sizeBytes = 0n
  for (const [index, part] of parts.entries()) {
    if (part.number !== index + 1)
      throw new ArtifactError('part_missing', `Cannot complete ${plan.key}: a part is missing`, {
        expected: `part ${index + 1}`,
        found: `part ${part.number}`,
      })
    const isLast = index === parts.length - 1
    if (isLast ? part.sizeBytes > plan.partSizeBytes : part.sizeBytes !== plan.partSizeBytes)
      throw wrongSize(plan.key, part, plan.partSizeBytes)
    sizeBytes += BigInt(part.sizeBytes)
  }
  if (plan.sizeBytes !== undefined && plan.sizeBytes !== sizeBytes)
    throw new ArtifactError('size_mismatch', `Cannot complete ${plan.key}: the size differs`, {
      expected: `${plan.sizeBytes} bytes`,
      found: `${sizeBytes} bytes`,
    })
  return sizeBytes
}

/**
 * That the store holds every one of `parts` and no other. Throws `part_missing`, `size_mismatch`
 * (some S3 stores complete only what was sent in full, so none may leave a part out), or
 * `part_mismatch` where the store kept another digest.
 */
export function checkPartsHeld(
  key: string,
  parts: readonly Part[],
  held: ReadonlyMap<number, PartInStore>,
): void {
  for (const part of parts) {
    const found = held.get(part.number)
    if (found === undefined)
      throw new ArtifactError('part_missing', `Cannot complete ${key}: a part is missing`, {
        expected: `part ${part.number}, sha256 ${part.sha256}`,
        found: `${held.size} of ${parts.length} parts`,
      })
    if (found.sizeBytes !== part.sizeBytes) throw wrongSize(key, part, found.sizeBytes)
    if (found.sha256 !== undefined && found.sha256 !== part.sha256)
      throw new ArtifactError(
        'part_mismatch',
        `Cannot complete ${key}: part ${part.number} differs`,
        { expected: `sha256 ${part.sha256}`, found: `sha256 ${found.sha256}` },
      )
  }
  if (held.size > parts.length)
    throw new ArtifactError('size_mismatch', `Cannot complete ${key}: more parts were sent`, {
      expected: `${parts.length} parts`,
      found: `${held.size} parts`,
    })
}

function wrongSize(key: string, part: Part, foundBytes: number): ArtifactError {
  return new ArtifactError(
    'size_mismatch',
    `Cannot complete ${key}: part ${part.number} has another size`,
    { expected: `${part.sizeBytes} bytes`, found: `${foundBytes} bytes` },
  )
}

/** The error for a session that the store does not know any more, and that left no object. */
export function sessionEnded(key: string): ArtifactError {
  return new ArtifactError('upload_ended', `Cannot go on with ${key}: the store has let it go`, {
    expected: 'an open session',
    found: 'none',
  })
}
