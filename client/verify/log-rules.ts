/**
 * What a log must not say, however well it is signed: a name is sealed once, and what is said about
 * a seal later is about that very leaf. A tree proves that nothing was rewritten; only who reads all
 * leaves can see that a name was sealed again behind a hidden row.
 */
import { ArtifactError } from '../../schemas/problems.ts'
import type { Leaf } from './leaf.ts'

/** Which leaf sealed a name, if any did. */
export type FindSeal = (name: string) => number | undefined

/** Throws `log_record` for a leaf that breaks a rule, given the seals before it. */
export function checkRules(leaf: Leaf, index: number, findSeal: FindSeal): void {
  const sealedAt = findSeal(leaf.name)
  if (leaf.kind === 'seal') {
    if (sealedAt === undefined) return
    throw new ArtifactError('log_record', `Cannot accept leaf ${index}: it seals a name again`, {
      expected: `${leaf.name} at leaf ${sealedAt} alone`,
      found: `${leaf.name} at leaf ${index} too`,
    })
  }
  if (leaf.of === sealedAt) return
  throw new ArtifactError('log_record', `Cannot accept leaf ${index}: it is about no such seal`, {
    expected:
      sealedAt === undefined
        ? `a leaf that seals ${leaf.name}`
        : `${leaf.name} at leaf ${sealedAt}`,
    found: `${leaf.kind} of leaf ${leaf.of}`,
  })
}
