/** Is a claim consistent with what was declared and granted? Checked before a byte is read. */
import type { Part } from '../../schemas/artifact.ts'
import { countParts, rangeOfPart } from '../../schemas/part-plan.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { UploadRecord } from '../records/upload-row.ts'
import type { Claim } from './reread.ts'

/**
 * Throws `size_mismatch` or `digest_mismatch` when the claim differs from what was declared at the
 * opening, `part_mismatch` when its parts are not the plan or not the bound ones, `part_missing`
 * when a part was never granted. The upload stays open: what is missing can still be sent.
 */
export function checkClaim(upload: UploadRecord, claim: Claim, bound: readonly Part[]): void {
  const cannot = `Cannot seal upload ${upload.id}`
  if (upload.sizeBytes !== undefined && upload.sizeBytes !== claim.sizeBytes)
    throw new ArtifactError('size_mismatch', `${cannot}: it was opened with another size`, {
      expected: `${upload.sizeBytes} bytes`,
      found: `${claim.sizeBytes} bytes`,
    })
  if (upload.sha256 !== undefined && upload.sha256 !== claim.sha256)
    throw new ArtifactError('digest_mismatch', `${cannot}: it was opened with another SHA-256`, {
      expected: upload.sha256,
      found: claim.sha256,
    })
  const count = countParts(claim.sizeBytes, upload.partSizeBytes)
  if (claim.parts.length !== count)
    throw new ArtifactError('part_mismatch', `${cannot}: the number of parts differs`, {
      expected: `${count} parts`,
      found: `${claim.parts.length} parts`,
    })
  const boundByNumber = new Map(bound.map((part) => [part.number, part]))
  for (const [index, part] of claim.parts.entries()) {
    const { sizeBytes } = rangeOfPart(claim.sizeBytes, upload.partSizeBytes, index + 1)
    if (part.number !== index + 1 || part.sizeBytes !== sizeBytes)
      throw new ArtifactError('part_mismatch', `${cannot}: the parts are not the plan, in order`, {
        expected: `part ${index + 1} of ${sizeBytes} bytes`,
        found: `part ${part.number} of ${part.sizeBytes} bytes`,
      })
    checkBoundPart(cannot, part, boundByNumber.get(part.number))
  }
  checkSinglePart(cannot, claim)
}

function checkBoundPart(cannot: string, part: Part, bound: Part | undefined): void {
  if (bound === undefined)
    throw new ArtifactError('part_missing', `${cannot}: part ${part.number} was never granted`, {
      expected: `part ${part.number}, sha256 ${part.sha256}`,
      found: 'nothing',
    })
  if (bound.sha256 !== part.sha256 || bound.sizeBytes !== part.sizeBytes)
    throw new ArtifactError('part_mismatch', `${cannot}: part ${part.number} is another one`, {
      expected: `sha256 ${bound.sha256}, ${bound.sizeBytes} bytes`,
      found: `sha256 ${part.sha256}, ${part.sizeBytes} bytes`,
    })
}

/** SHA-256 of no bytes at all. */
const EMPTY_SHA256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'

/** Without parts or with one, the whole digest is known already, also to the policy that reads nothing. */
function checkSinglePart(cannot: string, claim: Claim): void {
  const known = claim.parts.length === 0 ? EMPTY_SHA256 : claim.parts[0]?.sha256
  if (claim.parts.length > 1 || known === claim.sha256) return
  throw new ArtifactError('digest_mismatch', `${cannot}: its only part is not the whole`, {
    expected: known,
    found: claim.sha256,
  })
}
