/** What becomes of a pack with damaged bytes when one of its blobs is removed, against a real gateway. */
import { beforeEach, describe, expect, it } from 'vitest'
import { flipBit } from '../contract/subject.ts'
import {
  makePuts,
  openPackedStore,
  type PackedStore,
  PUT_COUNT,
  type Put,
  pick,
  tagOf,
} from '../support/packed-store.ts'

let at: PackedStore

beforeEach(async () => {
  at = await openPackedStore()
  return () => at[Symbol.asyncDispose]()
})

/** As the next sweep of a server, a minute later. Returns the faults that it met. */
async function sweep(): Promise<unknown[]> {
  const faults: unknown[] = []
  at.passSeconds(61)
  await at.store.tidy((_, error) => faults.push(error))
  return faults
}

const differs = expect.objectContaining({ code: 'digest_mismatch' })

describe('a removal from a damaged pack', () => {
  it.each([
    ['differs', (pack: Buffer, { bytes }: Put) => flipBit(pack, pack.indexOf(bytes)), 1],
    ['is cut', (pack: Buffer, { bytes }: Put) => pack.subarray(0, pack.indexOf(bytes) + 3), 5],
  ])('waits a minute where another blob %s, and harms nothing more', async (_, damage, harmed) => {
    const puts = makePuts()
    const pack = await at.putPack(puts)
    await at.seal(puts)
    const [gone, whole] = [pick(puts, 0), puts.slice(1, PUT_COUNT - harmed)]
    const damaged = puts.slice(PUT_COUNT - harmed)
    await at.bucket.write(pack, damage(Buffer.from(await at.bucket.read(pack)), pick(damaged, 0)))
    await expect(at.remove(gone)).rejects.toEqual(differs)
    expect(await at.listPacks()).toEqual([pack])
    await at.expectNone([gone])
    await at.expectAll(whole)
    // What is read so once more is what the store has: it goes with the others, and stays what it is.
    expect(await sweep()).toEqual([])
    expect(await at.isInBucket(gone)).toBe(false)
    expect(await at.listPacks()).toEqual([expect.not.stringContaining(pack)])
    await at.expectAll(whole)
    for (const put of damaged) {
      expect(await at.readOne(put)).not.toBe(String(put.bytes))
      const words = { fileName: 'x', contentType: 'text/plain', ttlSeconds: 60, bound: true }
      const granted = at.store.grantRead(put.plan.key, tagOf(put), words)
      await expect(granted).rejects.toMatchObject({ code: 'precondition_failed' })
    }
    expect(await sweep()).toEqual([])
    const { faults } = await at.store.rebuildIndex({ dryRun: true })
    expect(faults).toMatchObject({ count: harmed, list: damaged.map(() => ({ kind: 'changed' })) })
  })

  it('waits as long as the damage changes, or until it is mended', async () => {
    const puts = makePuts()
    const pack = await at.putPack(puts)
    const [gone, changed] = [pick(puts, 0), pick(puts, 1)]
    const bytes = Buffer.from(await at.bucket.read(pack))
    const first = bytes.indexOf(changed.bytes)
    await at.bucket.write(pack, flipBit(bytes, first))
    await expect(at.discard(gone)).rejects.toEqual(differs)
    await at.bucket.write(pack, flipBit(bytes, first + 1))
    expect(await sweep()).toEqual([differs])
    expect(await at.listPacks()).toEqual([pack])
    await at.bucket.write(pack, bytes)
    expect(await sweep()).toEqual([])
    expect(await at.isInBucket(gone)).toBe(false)
    await at.expectAll(puts.slice(1))
  })
})
