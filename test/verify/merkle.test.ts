import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import {
  checkConsistency,
  checkInclusion,
  checkPrefix,
  EMPTY_ROOT,
  foldHashes,
  type Hash,
  hashLeaf,
  hashNode,
  nodesOfRange,
  proveConsistency,
  proveInclusion,
  readRoot,
  type TreeHead,
} from '../../client/verify/merkle.ts'
import {
  numberedLeaves,
  readLeaves,
  referenceConsistency,
  referenceInclusion,
  referenceRoot,
} from '../support/reference-tree.ts'

const Hex = z.string().transform((text): Hash => Buffer.from(text, 'hex'))
const Row = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('leaf'), data: Hex, hash: Hex }),
  z.object({ kind: z.literal('root'), size: z.int(), root: Hex }),
  z.object({
    kind: z.literal('inclusion'),
    index: z.int(),
    size: z.int(),
    leaf: Hex,
    root: Hex,
    proof: z.array(Hex),
  }),
  z.object({
    kind: z.literal('consistency'),
    oldSize: z.int(),
    size: z.int(),
    oldRoot: Hex,
    root: Hex,
    proof: z.array(Hex),
  }),
])
type Row = z.infer<typeof Row>

const path = new URL('../vectors/merkle.jsonl', import.meta.url)
const rows = readFileSync(path, 'utf8')
  .trim()
  .split('\n')
  .map((line) => Row.parse(JSON.parse(line)))
const rowsOf = <K extends Row['kind']>(kind: K) =>
  rows.filter((row): row is Extract<Row, { kind: K }> => row.kind === kind)

const hexOf = (hash: Hash) => Buffer.from(hash).toString('hex')
const isRefused = (check: () => void) => {
  try {
    check()
    return false
  } catch {
    return true
  }
}

/** Many ways to get a proof a little wrong: a bit of each byte, one hash less, more, twice, cut. */
function* mutateProof(proof: readonly Hash[]): Generator<Hash[]> {
  for (const [at, hash] of proof.entries()) {
    for (const [byte, value] of hash.entries()) {
      const flipped = Buffer.from(hash)
      flipped[byte] = value ^ (1 << ((byte + at) % 8))
      yield proof.with(at, flipped)
    }
    yield proof.toSpliced(at, 1)
    yield proof.toSpliced(at, 0, hash)
    yield proof.with(at, hash.subarray(0, 31))
  }
  yield [...proof, EMPTY_ROOT]
  yield [EMPTY_ROOT, ...proof]
  yield [...proof, new Uint8Array()]
}

describe('hashLeaf()', () => {
  it('gives the hashes of the reference leaves', () => {
    const leaves = rowsOf('leaf')
    expect(leaves.length).toBe(8)
    for (const { data, hash } of leaves) expect(hexOf(hashLeaf(data))).toBe(hexOf(hash))
  })

  it('gives the known answers of other implementations', () => {
    const known = '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d'
    expect(hexOf(hashLeaf(Buffer.of()))).toBe(known)
    const longer = '395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56'
    expect(hexOf(hashLeaf(Buffer.from('L123456')))).toBe(longer)
    const empty = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
    expect(hexOf(EMPTY_ROOT)).toBe(empty)
  })
})

describe('hashNode()', () => {
  it('refuses what is not two hashes', () => {
    expect(() => hashNode(new Uint8Array(32), new Uint8Array(31))).toThrow(RangeError)
    expect(() => hashNode(Buffer.from('N123'), Buffer.from('N456'))).toThrow(RangeError)
  })
})

describe('readRoot()', () => {
  it('gives the roots of the reference tree at every size', async () => {
    const leaves = rowsOf('leaf').map(({ hash }) => hash)
    for (const { size, root } of rowsOf('root'))
      expect(hexOf(await readRoot(size, readLeaves(leaves)))).toBe(hexOf(root))
  })
})

describe('nodesOfRange()', () => {
  it('tiles a range with complete subtrees of falling height', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (size) => {
        let end = 0
        let last = 64
        for (const { height, index } of nodesOfRange(0, size)) {
          expect(index * 2 ** height).toBe(end)
          expect(height).toBeLessThan(last)
          last = height
          end += 2 ** height
        }
        expect(end).toBe(size)
      }),
    )
  })

  it('is exact around the powers of two, up to the largest', () => {
    for (let height = 1; height <= 53; height += 1) {
      const below = nodesOfRange(0, 2 ** height - 1)
      expect(below.map((node) => node.height)).toEqual(
        Array.from({ length: height }, (_, at) => height - 1 - at),
      )
      if (height < 53) expect(nodesOfRange(0, 2 ** height)).toEqual([{ height, index: 0 }])
    }
  })
})

describe('proveInclusion()', () => {
  it('gives the proofs of another implementation', async () => {
    const leaves = [rowsOf('leaf').map(({ hash }) => hash), numberedLeaves(700)]
    for (const { index, size, proof } of rowsOf('inclusion')) {
      const tree = leaves[size <= 8 ? 0 : 1] ?? []
      const made = await proveInclusion(index, size, readLeaves(tree))
      expect(made.map(hexOf)).toEqual(proof.map(hexOf))
    }
  })

  it('gives what the definition gives, for any leaf of any tree', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 400 }), fc.nat(), async (size, seed) => {
        const leaves = numberedLeaves(size)
        const index = seed % size
        const proof = await proveInclusion(index, size, readLeaves(leaves))
        expect(proof.map(hexOf)).toEqual(referenceInclusion(index, leaves).map(hexOf))
        const head = { size, root: foldHashes([referenceRoot(leaves)]) }
        checkInclusion(index, leaves[index] ?? EMPTY_ROOT, proof, head)
      }),
    )
  })

  it('refuses a leaf that the tree does not have', async () => {
    for (const [index, size] of [
      [1, 1],
      [0, 0],
      [-1, 4],
      [0.5, 4],
      [2 ** 53, 2 ** 53],
    ] as const)
      await expect(proveInclusion(index, size, readLeaves([]))).rejects.toThrow(RangeError)
  })
})

describe('checkInclusion()', () => {
  it('accepts every proof of another implementation', () => {
    const vectors = rowsOf('inclusion')
    expect(vectors.length).toBeGreaterThan(100)
    for (const { index, leaf, proof, ...head } of vectors) checkInclusion(index, leaf, proof, head)
  })

  it('refuses every changed byte, missing, repeated or shortened hash', () => {
    const refused = rowsOf('inclusion').flatMap(({ index, leaf, proof, ...head }) =>
      [...mutateProof(proof)].map((one) => isRefused(() => checkInclusion(index, leaf, one, head))),
    )
    expect(refused.filter((is) => !is)).toEqual([])
    expect(refused.length).toBeGreaterThan(20_000)
  })

  it('refuses every other index, leaf and root', () => {
    for (const { index, leaf, proof, size, root } of rowsOf('inclusion')) {
      for (const other of [index - 1, index + 1, index + size, 2 ** 53, 0.5, Number.NaN])
        expect(isRefused(() => checkInclusion(other, leaf, proof, { size, root }))).toBe(true)
      for (const other of [root, EMPTY_ROOT, new Uint8Array()])
        if (size > 1)
          expect(isRefused(() => checkInclusion(index, other, proof, { size, root }))).toBe(true)
      for (const other of [leaf, EMPTY_ROOT, new Uint8Array(), root.subarray(1)])
        if (size > 1)
          expect(isRefused(() => checkInclusion(index, leaf, proof, { size, root: other }))).toBe(
            true,
          )
    }
  })

  it('refuses a size of which the path to the leaf has another length', () => {
    for (const { index, leaf, proof, size, root } of rowsOf('inclusion'))
      for (const other of [0, -1, index, 2 ** 53, Number.NaN, size * 2 + 1])
        if (other !== size)
          expect(isRefused(() => checkInclusion(index, leaf, proof, { size: other, root }))).toBe(
            true,
          )
  })

  it('names both roots', () => {
    const [row] = rowsOf('inclusion').slice(-1)
    if (row === undefined) throw new Error('no vector')
    const head = { size: row.size, root: EMPTY_ROOT }
    expect(() => checkInclusion(row.index, row.leaf, row.proof, head)).toThrow(
      expect.objectContaining({
        code: 'log_inclusion',
        expected: `root ${hexOf(EMPTY_ROOT)}`,
        found: `root ${hexOf(row.root)}`,
      }),
    )
  })
})

describe('proveConsistency()', () => {
  it('gives the proofs of another implementation', async () => {
    const leaves = [rowsOf('leaf').map(({ hash }) => hash), numberedLeaves(700)]
    for (const { oldSize, size, proof } of rowsOf('consistency')) {
      const tree = leaves[size <= 8 ? 0 : 1] ?? []
      const made = await proveConsistency(oldSize, size, readLeaves(tree))
      expect(made.map(hexOf)).toEqual(proof.map(hexOf))
    }
  })

  it('gives what the definition gives, for any two sizes', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 400 }), fc.nat(), async (size, seed) => {
        const leaves = numberedLeaves(size)
        const oldSize = 1 + (seed % size)
        const proof = await proveConsistency(oldSize, size, readLeaves(leaves))
        expect(proof.map(hexOf)).toEqual(referenceConsistency(oldSize, leaves).map(hexOf))
        const older = { size: oldSize, root: referenceRoot(leaves.slice(0, oldSize)) }
        checkConsistency(older, { size, root: referenceRoot(leaves) }, proof)
      }),
    )
  })

  it('refuses sizes of which one cannot begin the other', async () => {
    for (const [oldSize, size] of [
      [0, 1],
      [2, 1],
      [-1, 4],
      [1.5, 4],
      [1, 2 ** 53],
    ] as const)
      await expect(proveConsistency(oldSize, size, readLeaves([]))).rejects.toThrow(RangeError)
  })
})

describe('checkConsistency()', () => {
  const vectors = rowsOf('consistency').map(({ oldSize, oldRoot, size, root, proof }) => ({
    older: { size: oldSize, root: oldRoot },
    newer: { size, root },
    proof,
  }))

  it('accepts every proof of another implementation', () => {
    expect(vectors.length).toBeGreaterThan(100)
    for (const { older, newer, proof } of vectors) checkConsistency(older, newer, proof)
  })

  it('refuses every changed byte, missing, repeated or shortened hash', () => {
    const refused = vectors.flatMap(({ older, newer, proof }) =>
      [...mutateProof(proof)].map((one) => isRefused(() => checkConsistency(older, newer, one))),
    )
    expect(refused.filter((is) => !is)).toEqual([])
    expect(refused.length).toBeGreaterThan(15_000)
  })

  it('refuses other roots, and trees the wrong way round', () => {
    for (const { older, newer, proof } of vectors) {
      const wrong = (head: TreeHead) => ({ ...head, root: EMPTY_ROOT })
      expect(isRefused(() => checkConsistency(wrong(older), newer, proof))).toBe(true)
      expect(isRefused(() => checkConsistency(older, wrong(newer), proof))).toBe(true)
      if (older.size === newer.size) continue
      expect(isRefused(() => checkConsistency(newer, older, proof))).toBe(true)
      expect(isRefused(() => checkConsistency(older, newer, []))).toBe(true)
    }
  })

  it('refuses the empty tree, which needs no proof, and sizes that are none', () => {
    const [last] = vectors.slice(-1)
    if (last === undefined) throw new Error('no vector')
    for (const size of [0, -1, 0.5, Number.NaN, 2 ** 53])
      expect(
        isRefused(() => checkConsistency({ ...last.older, size }, last.newer, last.proof)),
      ).toBe(true)
    expect(isRefused(() => checkConsistency({ size: 0, root: EMPTY_ROOT }, last.newer, []))).toBe(
      true,
    )
  })
})

describe('checkPrefix()', () => {
  const empty = { size: 0, root: EMPTY_ROOT }
  const one = { size: 1, root: hashLeaf(Buffer.of(1)) }

  it('lets the empty tree begin any tree, without a proof', () => {
    checkPrefix(empty, empty, [])
    checkPrefix(empty, one, [])
    expect(() => checkPrefix(empty, one, [one.root])).toThrow()
  })

  it('refuses an empty tree with the root of another', () => {
    const odd = { size: 0, root: one.root }
    expect(() => checkPrefix(odd, one, [])).toThrow()
    expect(() => checkPrefix(empty, odd, [])).toThrow()
    expect(() => checkPrefix({ ...empty, size: -1 }, one, [])).toThrow()
  })
})
