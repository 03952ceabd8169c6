import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createFrontier, parseFrontier, restoreFrontier } from '../../client/verify/frontier.ts'
import { numberedLeaves, referenceRoot } from '../support/reference-tree.ts'

const leaves = numberedLeaves(600)
const upTo = (size: number) => {
  const frontier = createFrontier()
  for (const leaf of leaves.slice(0, size)) frontier.append(leaf)
  return frontier
}

describe('createFrontier()', () => {
  it('has the root of the definition at every size', () => {
    const frontier = createFrontier()
    for (let size = 0; size < 300; size += 1) {
      expect(frontier.head()).toEqual({ size, root: referenceRoot(leaves.slice(0, size)) })
      frontier.append(leaves[size] ?? new Uint8Array())
    }
  })

  it('gives the root of a full tile with the leaf that fills it, and at no other', () => {
    const frontier = createFrontier()
    const roots = leaves.flatMap((leaf, index) =>
      frontier.append(leaf).map((root) => ({ ...root, after: index + 1 })),
    )
    expect(roots).toEqual([
      { level: 1, index: 0, hash: referenceRoot(leaves.slice(0, 256)), after: 256 },
      { level: 1, index: 1, hash: referenceRoot(leaves.slice(256, 512)), after: 512 },
    ])
  })

  it('gives the roots of two levels at once when both fill, lowest first', () => {
    const frontier = restoreFrontier(
      65_535,
      Array.from({ length: 16 }, (_, at) => leaves[at] ?? new Uint8Array()),
    )
    const roots = frontier.append(leaves[0] ?? new Uint8Array())
    expect(roots.map(({ level, index }) => [level, index])).toEqual([
      [1, 255],
      [2, 0],
    ])
    expect(frontier.hashes).toEqual([roots[1]?.hash])
  })

  it('refuses what is not a hash', () => {
    expect(() => createFrontier().append(new Uint8Array(31))).toThrow(RangeError)
  })
})

describe('parseFrontier()', () => {
  it('goes on from what toJSON() wrote as if nothing had happened', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 300 }),
        fc.integer({ min: 0, max: 300 }),
        (size, more) => {
          const restored = parseFrontier(JSON.parse(JSON.stringify(upTo(size))))
          expect(restored.head()).toEqual(upTo(size).head())
          for (const leaf of leaves.slice(size, size + more)) restored.append(leaf)
          expect(restored.head()).toEqual(upTo(size + more).head())
        },
      ),
      { numRuns: 30 },
    )
  })

  it('refuses hashes that do not fit the size', () => {
    const state = upTo(7).toJSON()
    for (const broken of [
      { ...state, size: 8 },
      { ...state, size: -1 },
      { ...state, size: 7.5 },
      { ...state, hashes: state.hashes.slice(1) },
      { ...state, hashes: state.hashes.with(0, 'AAAA') },
      { ...state, hashes: state.hashes.with(0, ` ${state.hashes[0]}`) },
    ])
      expect(() => parseFrontier(broken)).toThrow(
        expect.objectContaining({ code: 'log_malformed' }),
      )
  })
})

describe('fork()', () => {
  it('grows on its own', () => {
    const frontier = upTo(5)
    const fork = frontier.fork()
    fork.append(leaves[5] ?? new Uint8Array())
    expect([frontier.head(), fork.head()]).toEqual([upTo(5).head(), upTo(6).head()])
  })
})
