/** The tree as RFC 6962 defines it, by recursion over all leaves: slow, and plainly right. */
import { hash } from 'node:crypto'
import type { Hash, ReadHashes } from '../../client/verify/merkle.ts'

const sha256 = (...pieces: Uint8Array[]): Hash => hash('sha256', Buffer.concat(pieces), 'buffer')

export const referenceLeaf = (data: Uint8Array) => sha256(Buffer.of(0), data)

/** The leaf hashes of a tree whose leaf n is the decimal n. */
export const numberedLeaves = (size: number): Hash[] =>
  Array.from({ length: size }, (_, index) => referenceLeaf(Buffer.from(String(index))))

export function referenceRoot(leaves: readonly Hash[]): Hash {
  const [only] = leaves
  if (only === undefined) return sha256()
  if (leaves.length === 1) return only
  const middle = splitOf(leaves.length)
  const [left, right] = [leaves.slice(0, middle), leaves.slice(middle)]
  return sha256(Buffer.of(1), referenceRoot(left), referenceRoot(right))
}

export function referenceInclusion(index: number, leaves: readonly Hash[]): Hash[] {
  if (leaves.length === 1) return []
  const middle = splitOf(leaves.length)
  const [left, right] = [leaves.slice(0, middle), leaves.slice(middle)]
  return index < middle
    ? [...referenceInclusion(index, left), referenceRoot(right)]
    : [...referenceInclusion(index - middle, right), referenceRoot(left)]
}

export function referenceConsistency(
  oldSize: number,
  leaves: readonly Hash[],
  whole = true,
): Hash[] {
  if (oldSize === leaves.length) return whole ? [] : [referenceRoot(leaves)]
  const middle = splitOf(leaves.length)
  const [left, right] = [leaves.slice(0, middle), leaves.slice(middle)]
  return oldSize <= middle
    ? [...referenceConsistency(oldSize, left, whole), referenceRoot(right)]
    : [...referenceConsistency(oldSize - middle, right, false), referenceRoot(left)]
}

/** Reads nodes by hashing their leaves anew. */
export function readLeaves(leaves: readonly Hash[]): ReadHashes {
  return async (nodes) =>
    nodes.map(({ height, index }) => {
      const [start, end] = [index * 2 ** height, (index + 1) * 2 ** height]
      if (end > leaves.length) throw new RangeError(`Cannot read ${height}/${index}: not complete`)
      return referenceRoot(leaves.slice(start, end))
    })
}

function splitOf(count: number): number {
  let split = 1
  while (split * 2 < count) split *= 2
  return split
}
