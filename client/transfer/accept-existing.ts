import { ArtifactError } from '../../schemas/problems.ts'
import type { VouchedClaim } from './get.ts'
import type { GetResult } from './get-options.ts'
import { verifyLocal } from './verify-file.ts'

/** A file that is there is good enough if it is this very artifact; else the `refusal` of it stands. */
export async function acceptExisting(
  path: string,
  claim: VouchedClaim,
  signal: AbortSignal,
  refusal: ArtifactError,
): Promise<GetResult> {
  const checks = await verifyLocal(path, claim, { signal }).catch((error: unknown) => {
    const isInterrupted = error instanceof ArtifactError && error.code === 'interrupted'
    throw isInterrupted ? error : refusal
  })
  return {
    artifact: claim.record,
    path,
    checks: [...checks, ...claim.checks],
    receivedBytes: 0n,
    resumedBytes: 0n,
  }
}
