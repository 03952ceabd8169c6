/**
 * The Merkle tree of the log (RFC 6962, section 2.1, with SHA-256): hashes, proofs and the frontier
 * from which a tree grows.
 *
 *     leaf hash = SHA-256(0x00 || data)
 *     node hash = SHA-256(0x01 || left || right)
 *     root      = SHA-256("") for no leaves; the leaf hash for one; else the node of the roots of
 *                 the first k leaves and of the rest, k the largest power of two below the size
 *
 * A complete subtree never changes once it is full, so it has an address: `height` and `index` for
 * the leaves `[index * 2^height, (index + 1) * 2^height)`. Every proof is made of such nodes.
 *
 * Sizes and indexes are integers from 0 to 2^53 - 1. They are halved by division: the bit operators
 * of the language cut at 32 bits.
 */
import { hash } from 'node:crypto'
import { ArtifactError } from '../../schemas/problems.ts'

/** 32 bytes of SHA-256. */
export type Hash = Uint8Array

export const HASH_BYTES = 32
/** Most hashes in a proof: one per level of the largest tree. */
export const PROOF_HASHES_MAX = 53
/** Root of the tree without leaves: SHA-256 of nothing. */
export const EMPTY_ROOT: Hash = hash('sha256', '', 'buffer')

/** A tree at one moment. */
export interface TreeHead {
  size: number
  root: Hash
}

/** A complete subtree of `2^height` leaves, the first one being leaf `index * 2^height`. */
export interface TreeNode {
  height: number
  index: number
}

/** Gives the hashes of complete subtrees, in the order asked for; throws when it cannot vouch for one. */
export type ReadHashes = (nodes: readonly TreeNode[]) => Promise<readonly Hash[]>

const nodeBytes = Buffer.alloc(1 + 2 * HASH_BYTES, 1)

/** Hash of a leaf from its bytes. */
export function hashLeaf(data: Uint8Array): Hash {
  const bytes = Buffer.allocUnsafe(1 + data.length)
  bytes[0] = 0
  bytes.set(data, 1)
  return hash('sha256', bytes, 'buffer')
}

/** Hash of the node above two subtrees; throws a `RangeError` unless both hashes have 32 bytes. */
export function hashNode(left: Hash, right: Hash): Hash {
  if (left.length !== HASH_BYTES || right.length !== HASH_BYTES)
    throw new RangeError(`Cannot hash a node: hashes of ${left.length} and ${right.length} bytes`)
  // One buffer for all calls: nothing else runs between filling it and hashing it.
  nodeBytes.set(left, 1)
  nodeBytes.set(right, 1 + HASH_BYTES)
  return hash('sha256', nodeBytes, 'buffer')
}

/** Whether two hashes are the same 32 bytes. Both are public: no constant time is needed. */
export function isSameHash(one: Hash, other: Hash): boolean {
  return one.length === HASH_BYTES && Buffer.compare(one, other) === 0
}

/**
 * The complete subtrees of leaves `[start, end)`, left to right, for a range that is itself a subtree
 * of some tree: `start` a multiple of the smallest power of two that holds the range. For example
 * `[0, 6)` is the node of 4 leaves and that of 2.
 */
export function nodesOfRange(start: number, end: number): TreeNode[] {
  const nodes: TreeNode[] = []
  for (let at = start; at < end; ) {
    const height = Math.floor(Math.log2(end - at))
    // log2 of a number just below a power of two can round up to it.
    const fitting = 2 ** height > end - at ? height - 1 : height
    nodes.push({ height: fitting, index: at / 2 ** fitting })
    at += 2 ** fitting
  }
  return nodes
}

/** Root over complete subtrees from {@link nodesOfRange}, in their order. */
export function foldHashes(hashes: readonly Hash[]): Hash {
  if (hashes.length === 0) return EMPTY_ROOT
  return hashes.reduceRight((right, left) => hashNode(left, right))
}

/** Root of the first `size` leaves of the tree that `readHashes` reads. */
export async function readRoot(size: number, readHashes: ReadHashes): Promise<Hash> {
  return foldHashes(await readHashes(nodesOfRange(0, checkSizeOf('tree', size))))
}

/**
 * Hashes from the sibling of leaf `index` up to a child of the root of the first `size` leaves
 * (RFC 6962, section 2.1.1). Throws a `RangeError` unless `index < size`.
 */
export async function proveInclusion(
  index: number,
  size: number,
  readHashes: ReadHashes,
): Promise<Hash[]> {
  checkSizeOf('tree', size)
  checkSizeOf('index', index)
  if (index >= size) throw new RangeError(`Cannot prove leaf ${index}: the tree has ${size}`)
  return readRanges(rangesOfInclusion(index, size), readHashes)
}

/**
 * Throws `log_inclusion` unless the proof leads from leaf hash to root (RFC 9162, section 2.1.3.2).
 * Any input is safe: index and size may be nonsense, the proof of any length.
 */
export function checkInclusion(
  index: number,
  leafHash: Hash,
  proof: readonly Hash[],
  head: TreeHead,
): void {
  const root = climb(index, leafHash, proof, head.size)
  if (root !== undefined && isSameHash(root, head.root)) return
  throw new ArtifactError(
    'log_inclusion',
    `Cannot find leaf ${index} in the log of ${head.size}: the proof does not lead to its root`,
    {
      expected: `root ${hex(head.root)}`,
      found: root === undefined ? 'no root' : `root ${hex(root)}`,
    },
  )
}

/**
 * Hashes that show that the first `oldSize` leaves are the beginning of the first `newSize`
 * (RFC 6962, section 2.1.2); none when the sizes are equal. Throws a `RangeError` unless
 * `1 <= oldSize <= newSize`: that an empty tree is a beginning needs no proof.
 */
export async function proveConsistency(
  oldSize: number,
  newSize: number,
  readHashes: ReadHashes,
): Promise<Hash[]> {
  checkSizeOf('tree', newSize)
  checkSizeOf('tree', oldSize)
  if (oldSize < 1 || oldSize > newSize)
    throw new RangeError(`Cannot prove that ${oldSize} leaves begin a tree of ${newSize}`)
  return readRanges(rangesOfConsistency(oldSize, newSize), readHashes)
}

/**
 * Throws `log_fork` unless the proof shows `older` to be the beginning of `newer` (RFC 9162, section
 * 2.1.4.2). A proof from or to the empty tree is refused, as is a longer tree given as the older one.
 */
export function checkConsistency(older: TreeHead, newer: TreeHead, proof: readonly Hash[]): void {
  const roots = rootsOfConsistency(older, newer.size, proof)
  if (
    roots !== undefined &&
    isSameHash(roots.older, older.root) &&
    isSameHash(roots.newer, newer.root)
  )
    return
  throw new ArtifactError(
    'log_fork',
    `Cannot join the logs of ${older.size} and of ${newer.size}: the proof does not lead to both roots`,
    {
      expected: `roots ${hex(older.root)} and ${hex(newer.root)}`,
      found: roots === undefined ? 'no roots' : `roots ${hex(roots.older)} and ${hex(roots.newer)}`,
    },
  )
}

/**
 * The roots to which a proof of consistency leads; `undefined` when it is none for these sizes. When
 * it leads to the root of the newer tree, it tells the true root of its first `older.size` leaves,
 * unless that is one complete subtree: then the proof starts from `older.root` itself.
 */
export function rootsOfConsistency(
  older: TreeHead,
  newSize: number,
  proof: readonly Hash[],
): { older: Hash; newer: Hash } | undefined {
  if (!isSize(older.size) || !isSize(newSize) || older.size < 1 || older.size > newSize)
    return undefined
  if (older.size === newSize)
    return proof.length === 0 ? { older: older.root, newer: older.root } : undefined
  // Even where the old tree is complete and its root the start, the proof has at least one hash.
  if (proof.length === 0) return undefined
  let at = older.size - 1
  let last = newSize - 1
  while (isOdd(at)) {
    at = half(at)
    last = half(last)
  }
  const [first, ...rest] = at === 0 ? [older.root, ...proof] : proof
  if (first === undefined || [first, ...rest].some(({ length }) => length !== HASH_BYTES))
    return undefined
  let oldRoot = first
  let newRoot = first
  for (const sibling of rest) {
    if (last === 0) return undefined
    if (isOdd(at) || at === last) {
      oldRoot = hashNode(sibling, oldRoot)
      newRoot = hashNode(sibling, newRoot)
      while (!isOdd(at) && at !== 0) {
        at = half(at)
        last = half(last)
      }
    } else newRoot = hashNode(newRoot, sibling)
    at = half(at)
    last = half(last)
  }
  return last === 0 ? { older: oldRoot, newer: newRoot } : undefined
}

/**
 * Throws `log_fork` unless `older` is the beginning of `newer`, where either may be empty. The proof
 * must be empty when there is nothing to prove: equal sizes, or an empty `older`.
 */
export function checkPrefix(older: TreeHead, newer: TreeHead, proof: readonly Hash[]): void {
  if (older.size > 0) {
    checkConsistency(older, newer, proof)
    return
  }
  const isEmpty = isSameHash(older.root, EMPTY_ROOT)
  const fits = newer.size > 0 || isSameHash(newer.root, EMPTY_ROOT)
  if (older.size === 0 && isEmpty && fits && isSize(newer.size) && proof.length === 0) return
  throw new ArtifactError(
    'log_fork',
    `Cannot join the logs of ${older.size} and of ${newer.size}: the empty one has no such root`,
    { expected: `root ${hex(EMPTY_ROOT)}`, found: `root ${hex(older.root)}` },
  )
}

/** Whether a number can be a size or an index: an integer, 0 to 2^53 - 1. */
export function isSize(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0
}

interface Range {
  start: number
  end: number
}

/** PATH(m, D[n]) of RFC 6962, as ranges of leaves, leaf to root. */
function rangesOfInclusion(index: number, size: number): Range[] {
  const ranges: Range[] = []
  for (let start = 0, end = size; end - start > 1; ) {
    const middle = start + splitOf(end - start)
    if (index < middle) {
      ranges.push({ start: middle, end })
      end = middle
    } else {
      ranges.push({ start, end: middle })
      start = middle
    }
  }
  return ranges.reverse()
}

/** SUBPROOF(m, D[n], true) of RFC 6962, as ranges of leaves. */
function rangesOfConsistency(oldSize: number, newSize: number): Range[] {
  const ranges: Range[] = []
  let start = 0
  let end = newSize
  while (end !== oldSize) {
    const middle = start + splitOf(end - start)
    if (oldSize <= middle) {
      ranges.push({ start: middle, end })
      end = middle
    } else {
      ranges.push({ start, end: middle })
      start = middle
    }
  }
  // The verifier has the old root already when the old tree is one complete subtree.
  if (start > 0) ranges.push({ start, end })
  return ranges.reverse()
}

/** Largest power of two below `count`, which is at least 2. */
function splitOf(count: number): number {
  let split = 2 ** Math.floor(Math.log2(count))
  while (split >= count) split /= 2
  return split
}

async function readRanges(ranges: readonly Range[], readHashes: ReadHashes): Promise<Hash[]> {
  const nodes = ranges.map(({ start, end }) => nodesOfRange(start, end))
  // All at once, so that a reader over a network makes one round.
  const hashes = await readHashes(nodes.flat())
  let at = 0
  return nodes.map(({ length }) => {
    at += length
    return foldHashes(hashes.slice(at - length, at))
  })
}

function climb(
  index: number,
  leafHash: Hash,
  proof: readonly Hash[],
  size: number,
): Hash | undefined {
  if (!isSize(index) || !isSize(size) || index >= size) return undefined
  if ([leafHash, ...proof].some(({ length }) => length !== HASH_BYTES)) return undefined
  let at = index
  let last = size - 1
  let root = leafHash
  for (const sibling of proof) {
    if (last === 0) return undefined
    if (isOdd(at) || at === last) {
      root = hashNode(sibling, root)
      // Levels at which the last node has no sibling add nothing to the proof.
      while (!isOdd(at) && at !== 0) {
        at = half(at)
        last = half(last)
      }
    } else root = hashNode(root, sibling)
    at = half(at)
    last = half(last)
  }
  return last === 0 ? root : undefined
}

function checkSizeOf(what: string, size: number): number {
  if (isSize(size)) return size
  throw new RangeError(`Cannot take ${size} as ${what}: expected an integer, 0 to 2^53 - 1`)
}

const isOdd = (value: number) => value % 2 === 1
const half = (value: number) => Math.floor(value / 2)
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
