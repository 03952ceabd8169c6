/** Keys and policies that a person gives, as text or in files. */
import { readFile, stat } from 'node:fs/promises'
import { ArtifactError } from '../../schemas/problems.ts'
import { localError } from '../disk/local-error.ts'
import { parseNoteKey } from '../verify/note-key.ts'
import { type Policy, parsePolicy, trustLog } from '../verify/policy.ts'

const FILE_BYTES_MAX = 1_000_000

/** What is given, each absent or not. */
export interface GivenPolicy {
  /** A verifier key, or the path of a file that holds one. */
  key?: string | undefined
  /** Path of a policy as C2SP tlog-policy has it. */
  policyFile?: string | undefined
}

/**
 * The policy that is given; `undefined` when nothing is. Throws `usage` for what is not a key or a
 * policy, or for both at once, `local_io` for a file that cannot be read.
 */
export async function readGivenPolicy({
  key,
  policyFile,
}: GivenPolicy): Promise<Policy | undefined> {
  if (key !== undefined && policyFile !== undefined)
    throw new ArtifactError('usage', 'Cannot choose whom to trust: a key and a policy are given', {
      expected: 'one of the two',
    })
  if (key !== undefined) return trustLog(parseNoteKey(await readKeyText(key)))
  return policyFile === undefined ? undefined : parsePolicy(await readSmallFile(policyFile))
}

/** Reads a file that a person names; throws `local_io`, also when it is much too large. */
export async function readSmallFile(path: string): Promise<Uint8Array> {
  try {
    const { size } = await stat(path)
    if (size > FILE_BYTES_MAX) throw new Error(`it has more than ${FILE_BYTES_MAX} bytes`)
    return await readFile(path)
  } catch (error) {
    throw localError('read', path, error)
  }
}

/** A key has two plus signs and ends in Base 64 of 33 bytes, which no sensible path does. */
async function readKeyText(given: string): Promise<string> {
  if (/^[^+\s]+\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44}$/.test(given)) return given
  return Buffer.from(await readSmallFile(given))
    .toString()
    .trim()
}
