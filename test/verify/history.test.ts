import { describe, expect, it } from 'vitest'
import { type OpenedCheckpoint, openCheckpoint } from '../../client/verify/checkpoint.ts'
import {
  ForkError,
  formatEvidence,
  judgeEvidence,
  parseEvidence,
  relateCheckpoints,
} from '../../client/verify/history.ts'
import { EMPTY_ROOT, type Hash, proveConsistency } from '../../client/verify/merkle.ts'
import { trustLog } from '../../client/verify/policy.ts'
import { createTileReader } from '../../client/verify/tile-reader.ts'
import { LOG_SIGNER, mutateBytes, testSigner } from '../support/log-keys.ts'
import { buildStaticLog, serveTiles } from '../support/static-log.ts'

const policy = trustLog(LOG_SIGNER.key)
const entriesOf = (size: number, word = '') =>
  Array.from({ length: size }, (_, index) => Buffer.from(`${index}${index === 2 ? word : ''}`))

/** The checkpoint of a log of that size, and proofs made from its tiles. */
function logOf(size: number, word = '', signer = LOG_SIGNER) {
  const log = buildStaticLog(entriesOf(size, word), signer)
  const opened = openCheckpoint(log.files.get('checkpoint') ?? '', trustLog(signer.key))
  const prove = (older: { size: number }) =>
    proveConsistency(older.size, size, createTileReader(log.head, serveTiles(log.files)))
  return { opened, prove }
}

const unasked = async (): Promise<Hash[]> => {
  throw new Error('asked for a proof')
}

async function catchFork(
  seen: OpenedCheckpoint,
  offered: OpenedCheckpoint,
  prove: (older: OpenedCheckpoint) => Promise<readonly Hash[]>,
): Promise<ForkError> {
  try {
    await relateCheckpoints(seen, offered, prove)
  } catch (error) {
    if (!(error instanceof ForkError)) throw error
    expect(error.code).toBe('log_fork')
    return error
  }
  throw new Error('no fork was found')
}

describe('relateCheckpoints()', () => {
  it('takes a tree that continues what was seen for newer, and the other way for older', async () => {
    for (const [small, large] of [
      [1, 2],
      [4, 5],
      [5, 9],
      [255, 257],
      [256, 600],
    ] as const) {
      const [older, newer] = [logOf(small), logOf(large)]
      const sizes: number[][] = []
      const prove = (one: OpenedCheckpoint, other: OpenedCheckpoint) => {
        sizes.push([one.size, other.size])
        return newer.prove(one)
      }
      expect(await relateCheckpoints(older.opened, newer.opened, prove)).toEqual({
        outcome: 'newer',
      })
      expect(await relateCheckpoints(newer.opened, older.opened, prove)).toEqual({
        outcome: 'older',
      })
      expect(sizes).toEqual([
        [small, large],
        [small, large],
      ])
    }
  })

  it('asks for no proof when there is nothing to prove', async () => {
    const [none, one, same] = [logOf(0).opened, logOf(5).opened, logOf(5).opened]
    expect(await relateCheckpoints(one, same, unasked)).toEqual({ outcome: 'same' })
    expect(await relateCheckpoints(none, one, unasked)).toEqual({ outcome: 'newer' })
    expect(await relateCheckpoints(one, none, unasked)).toEqual({ outcome: 'older' })
    expect(await relateCheckpoints(none, none, unasked)).toEqual({ outcome: 'same' })
  })

  it('finds two trees of one size, and keeps both notes', async () => {
    const [one, other] = [logOf(5).opened, logOf(5, 'x').opened]
    const { evidence } = await catchFork(one, other, unasked)
    expect(evidence).toEqual({ older: one.note, newer: other.note, proof: [] })
    expect(judgeEvidence(evidence, policy)).toBe('fork')
  })

  it('finds a tree that was rewritten and grew, whichever of the two was seen first', async () => {
    const [one, other] = [logOf(5), logOf(9, 'x')]
    for (const [seen, offered] of [
      [one, other],
      [other, one],
    ] as const) {
      const { evidence } = await catchFork(seen.opened, offered.opened, other.prove)
      expect(evidence.older).toBe(one.opened.note)
      expect(evidence.newer).toBe(other.opened.note)
      expect(evidence.proof.length).toBeGreaterThan(0)
      expect(judgeEvidence(evidence, policy)).toBe('fork')
    }
  })

  it('refuses a proof that is a lie, which convicts nobody', async () => {
    const [one, other] = [logOf(5), logOf(9)]
    const lie = async () => [EMPTY_ROOT, EMPTY_ROOT]
    const { evidence } = await catchFork(one.opened, other.opened, lie)
    expect(judgeEvidence(evidence, policy)).toBe('unproven')
    const none = { ...evidence, proof: await other.prove(one.opened) }
    expect(judgeEvidence(none, policy)).toBe('none')
  })

  it('refuses a rewritten tree of complete subtrees, though its proof starts at the old root', async () => {
    const [one, other] = [logOf(4), logOf(9, 'x')]
    const { evidence } = await catchFork(one.opened, other.opened, other.prove)
    expect(judgeEvidence(evidence, policy)).toBe('unproven')
  })

  it('refuses a signed empty tree with a root of its own', async () => {
    const odd = { ...logOf(0).opened, root: logOf(1).opened.root }
    await catchFork(odd, logOf(5).opened, unasked)
  })

  it('passes on that no proof could be had', async () => {
    await expect(relateCheckpoints(logOf(1).opened, logOf(2).opened, unasked)).rejects.toThrow(
      'asked for a proof',
    )
  })

  it('refuses to compare two logs', async () => {
    const other = logOf(5, '', testSigner('example.com/other', 'note', 4)).opened
    await expect(relateCheckpoints(logOf(5).opened, other, unasked)).rejects.toThrow(RangeError)
  })
})

describe('parseEvidence()', () => {
  it('reads what formatEvidence() writes, and judges it anew', async () => {
    const [one, other] = [logOf(5), logOf(9, 'x')]
    const { evidence } = await catchFork(one.opened, other.opened, other.prove)
    const text = formatEvidence(evidence)
    expect(text.startsWith('artifact-log/v1 fork\nolder\n\texample.com/log\n\t5\n')).toBe(true)
    expect(formatEvidence(parseEvidence(text))).toBe(text)
    expect(judgeEvidence(parseEvidence(text), policy)).toBe('fork')
    expect(parseEvidence(formatEvidence({ ...evidence, proof: [] })).proof).toEqual([])
  })

  it('convicts nobody when any byte of the evidence differs', async () => {
    const [one, other] = [logOf(5), logOf(9, 'x')]
    const { evidence } = await catchFork(one.opened, other.opened, other.prove)
    const convicted = [...mutateBytes(Buffer.from(formatEvidence(evidence)))].filter(
      ({ mutant }) => {
        try {
          return judgeEvidence(parseEvidence(Buffer.from(mutant).toString()), policy) === 'fork'
        } catch {
          return false
        }
      },
    )
    expect(convicted).toEqual([])
  })

  it('refuses heads in the wrong order, of two logs, or that nobody signed', () => {
    const [one, other] = [logOf(5).opened, logOf(9, 'x').opened]
    const malformed = expect.objectContaining({ code: 'log_malformed' })
    expect(() => judgeEvidence({ older: other.note, newer: one.note, proof: [] }, policy)).toThrow(
      malformed,
    )
    const signer = testSigner('example.com/other', 'note', 4)
    const stranger = logOf(9, '', signer).opened
    const both = { ...policy, logs: [{ key: LOG_SIGNER.key }, { key: signer.key }] }
    const mixed = { older: one.note, newer: stranger.note, proof: [] }
    expect(() => judgeEvidence(mixed, both)).toThrow(malformed)
    expect(() => judgeEvidence(mixed, policy)).toThrow(
      expect.objectContaining({ code: 'log_signature' }),
    )
    expect(() => parseEvidence('artifact-log/v1 fork\n')).toThrow(malformed)
  })
})
