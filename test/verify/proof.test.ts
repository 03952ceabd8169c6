import { describe, expect, it } from 'vitest'
import { formatLeaf, parseSealLeaf } from '../../client/verify/leaf.ts'
import { proveInclusion } from '../../client/verify/merkle.ts'
import { trustLog } from '../../client/verify/policy.ts'
import {
  checkReceipt,
  formatReceipt,
  parseReceipt,
  type Receipt,
} from '../../client/verify/proof.ts'
import { createTileReader } from '../../client/verify/tile-reader.ts'
import { LOG_SIGNER, mutateBytes, testSigner } from '../support/log-keys.ts'
import { buildStaticLog, serveTiles } from '../support/static-log.ts'

const leafOf = (run: number) =>
  formatLeaf({
    kind: 'remove',
    name: `turtle-db/${run}/db.dump`,
    of: run,
    reason: 'past its time',
    time: '2026-11-22T00:00:00.000Z',
    by: 'server',
  })
const entries = Array.from({ length: 300 }, (_, run) => leafOf(run))
const log = buildStaticLog(entries, LOG_SIGNER)
const checkpoint = Buffer.from(log.files.get('checkpoint') ?? new Uint8Array()).toString()
const policy = trustLog(LOG_SIGNER.key)

async function issue(index: number, withLeaf = true): Promise<Receipt> {
  const readHashes = createTileReader(log.head, serveTiles(log.files))
  const proof = await proveInclusion(index, log.head.size, readHashes)
  const extra = entries[index]
  return { ...(withLeaf && extra ? { extra } : {}), index, proof, checkpoint }
}

const code = (value: string) => expect.objectContaining({ code: value })

describe('formatReceipt()', () => {
  it('writes the example of its documentation', () => {
    const small = buildStaticLog([Buffer.of(), Buffer.of(0)], LOG_SIGNER)
    const [note = ''] = [Buffer.from(small.files.get('checkpoint') ?? []).toString()]
    const proof = [small.files.get('tile/0/000.p/2')?.subarray(32) ?? new Uint8Array()]
    const text = formatReceipt({ index: 0, proof, checkpoint: note })
    expect(text.split('— ')[0]).toBe(
      `c2sp.org/tlog-proof@v1
index 0
lqKW0iTyhcZ77pPDD4owkVfw2qNdxbh+QQt4YwoJz8c=

example.com/log
2
+sVCA+fMaWzw38tCySodnbr3CtnmIfS9jZhmLwDjwSU=

`,
    )
    expect(checkReceipt(parseReceipt(text), Buffer.of(), policy).index).toBe(0)
  })
})

describe('checkReceipt()', () => {
  it('accepts a receipt for every leaf, and gives what is in the log', async () => {
    for (const index of [0, 1, 128, 255, 256, 298, 299]) {
      const text = formatReceipt(await issue(index))
      expect(formatReceipt(parseReceipt(Buffer.from(text)))).toBe(text)
      const checked = checkReceipt(parseReceipt(text), undefined, policy)
      expect(checked).toMatchObject({ index, checkpoint: { size: 300, note: checkpoint } })
      expect(Buffer.from(checked.leaf)).toEqual(Buffer.from(leafOf(index)))
    }
  })

  it('takes the leaf from the caller when the receipt carries none', async () => {
    const receipt = await issue(7, false)
    expect(checkReceipt(receipt, leafOf(7), policy).index).toBe(7)
    expect(() => checkReceipt(receipt, undefined, policy)).toThrow(code('log_missing'))
    expect(() => checkReceipt(receipt, leafOf(8), policy)).toThrow(code('log_inclusion'))
  })

  it('does not believe the leaf that a receipt carries', async () => {
    const receipt = { ...(await issue(7)), extra: leafOf(8) }
    expect(() => checkReceipt(receipt, undefined, policy)).toThrow(code('log_inclusion'))
    expect(checkReceipt(receipt, leafOf(7), policy).leaf).toEqual(leafOf(7))
  })

  it('refuses another index, another log and another key', async () => {
    const receipt = await issue(7)
    for (const index of [6, 8, 299, 300])
      expect(() => checkReceipt({ ...receipt, index }, undefined, policy)).toThrow(
        code('log_inclusion'),
      )
    const stranger = trustLog(testSigner('example.com/log', 'note', 9).key)
    expect(() => checkReceipt(receipt, undefined, stranger)).toThrow(code('log_signature'))
    const other = buildStaticLog(entries.toReversed(), LOG_SIGNER)
    const note = Buffer.from(other.files.get('checkpoint') ?? []).toString()
    expect(() => checkReceipt({ ...receipt, checkpoint: note }, undefined, policy)).toThrow(
      code('log_inclusion'),
    )
  })

  it('refuses a receipt that differs in any byte', async () => {
    const text = formatReceipt(await issue(7))
    const mutants = [...mutateBytes(Buffer.from(text))]
    const accepted = mutants.filter(({ mutant }) => {
      try {
        checkReceipt(parseReceipt(mutant), undefined, policy)
        return true
      } catch {
        return false
      }
    })
    expect(accepted).toEqual([])
    expect(mutants.length).toBeGreaterThan(5000)
  })

  it('refuses a leaf that is in the log for another purpose', async () => {
    const { leaf } = checkReceipt(await issue(7), undefined, policy)
    expect(() => parseSealLeaf(leaf)).toThrow(code('log_record'))
  })
})

describe('parseReceipt()', () => {
  it.each([
    '',
    'c2sp.org/tlog-proof@v1\n',
    'c2sp.org/tlog-proof@v1\n\n',
    'c2sp.org/tlog-proof@v1\nindex 01\n\nx',
    'c2sp.org/tlog-proof@v1\nindex -1\n\nx',
    'c2sp.org/tlog-proof@v1\nindex 1 \n\nx',
    'c2sp.org/tlog-proof@v2\nindex 1\n\nx',
    'c2sp.org/tlog-proof@v1\nextra\nindex 1\n\nx',
    'c2sp.org/tlog-proof@v1\nextra AB\nindex 1\n\nx',
    'c2sp.org/tlog-proof@v1\nindex 1\nextra AAAA\n\nx',
    'c2sp.org/tlog-proof@v1\nindex 1\nAAAA\n\nx',
    `c2sp.org/tlog-proof@v1\nindex 1\n${`${'A'.repeat(43)}=\n`.repeat(54)}\nx`,
  ])('refuses %j', (text) => {
    expect(() => parseReceipt(text)).toThrow(code('log_malformed'))
  })
})
