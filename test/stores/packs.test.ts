import { chmod, readdir, readFile, truncate, unlink, writeFile } from 'node:fs/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { pathOfBlob, writeBlob } from '../../server/stores/filesystem-blobs.ts'
import { formatPackRecord, parsePack } from '../../server/stores/pack-record.ts'
import { openPacks, type Packs } from '../../server/stores/packs.ts'
import { mountSmallDisk } from '../support/small-disk.ts'
import { makeWorkFolder, type WorkFolder } from '../support/work-folder.ts'

let work: WorkFolder
beforeEach(async () => {
  work = await makeWorkFolder()
})
afterEach(() => work[Symbol.asyncDispose]())

const keyOf = (index: number) => `blobs/0a/0a-${index}`
const bytesOf = (index: number) => Buffer.from(`content of ${index}\n`.repeat(index))
const packNames = () => readdir(work.at('packs'))

function keepOne(packs: Packs, index: number) {
  const bytes = bytesOf(index)
  return packs.keep(keyOf(index), bytes, () => writeBlob(work.path, keyOf(index), bytes))
}

/** Keeps and writes some blobs as a store does, and stops. */
async function keepSome(count: number): Promise<void> {
  await using packs = await openPacks(work.path)
  await Promise.all(Array.from({ length: count }, (_, index) => keepOne(packs, index)))
}

async function expectAll(count: number): Promise<void> {
  for (let index = 0; index < count; index++)
    expect(await readFile(pathOfBlob(work.path, keyOf(index)))).toEqual(bytesOf(index))
}

describe('parsePack()', () => {
  const records = [0, 1, 2].map((index) => ({ key: keyOf(index), bytes: bytesOf(index) }))
  const pack = Buffer.concat(records.flatMap(formatPackRecord))

  it('reads back what was formatted', () => {
    expect([...parsePack(pack)]).toEqual(records)
  })

  it('gives whole records alone, wherever a pack is cut', () => {
    for (let length = 0; length < pack.length; length++)
      expect(records.slice(0, 2)).toEqual(
        expect.arrayContaining([...parsePack(pack.subarray(0, length))]),
      )
  })

  it('gives no record with a byte that changed, and none behind it', () => {
    for (let at = 0; at < pack.length; at++) {
      const changed = Buffer.from(pack)
      changed.writeUInt8(changed.readUInt8(at) ^ 1, at)
      // A key may change into another one; the bytes under it are whole all the same.
      for (const { bytes } of parsePack(changed))
        expect(records.some((record) => record.bytes.equals(bytes))).toBe(true)
    }
  })
})

describe('openPacks()', () => {
  it('shares one pack among those who come together', async () => {
    await keepSome(50)
    expect(await packNames()).toEqual(['1.pack'])
    await expectAll(50)
  })

  it('brings back what a crash lost or tore, before anybody reads', async () => {
    await keepSome(4)
    await unlink(pathOfBlob(work.path, keyOf(1)))
    await chmod(pathOfBlob(work.path, keyOf(2)), 0o600)
    await truncate(pathOfBlob(work.path, keyOf(2)), 3)
    await writeFile(work.at('packs', '7.pack'), 'blob blobs/0a/torn 5 00')
    await using _packs = await openPacks(work.path)
    await expectAll(4)
    expect(await readdir(work.at('blobs', '0a'))).toHaveLength(4)
  })

  it('opens on a full disk, keeps what it cannot mend, and mends it when there is room', async ({
    skip,
  }) => {
    using disk = await mountSmallDisk(work.at('disk'), 64 * 1024)
    if (disk === undefined) {
      if (process.env.CI) throw new Error('No small disk can be mounted, and CI must run this')
      return skip('no small disk can be mounted here (root is needed)')
    }
    const folder = work.at('disk')
    const bytes = Buffer.alloc(20_000, 'lost')
    const [lost, filler] = [pathOfBlob(folder, keyOf(1)), work.at('disk', 'filler')]
    {
      await using packs = await openPacks(folder)
      await packs.keep(keyOf(1), bytes, () => writeBlob(folder, keyOf(1), bytes))
    }
    await unlink(lost)
    await writeFile(filler, Buffer.alloc(60_000)).catch(() => undefined)
    await using packs = await openPacks(folder)
    const faults: unknown[] = []
    await packs.mend((path, error) => faults.push(path, error))
    expect(faults).toEqual([
      work.at('disk', 'packs', '1.pack'),
      expect.objectContaining({ message: expect.stringContaining('no space is left') }),
    ])
    await expect(packs.forget(keyOf(1))).rejects.toThrow('no space is left')
    expect(await readdir(work.at('disk', 'packs'))).toEqual(['1.pack'])
    await unlink(filler)
    await packs.mend((_, error) => {
      throw error
    })
    expect(await readFile(lost)).toEqual(bytes)
  })

  it('never brings back what was removed', async () => {
    await keepSome(3)
    {
      await using packs = await openPacks(work.path)
      await packs.forget(keyOf(1))
      await unlink(pathOfBlob(work.path, keyOf(1)))
    }
    expect(await packNames()).toEqual([])
    await using _packs = await openPacks(work.path)
    expect((await readdir(work.at('blobs', '0a'))).sort()).toEqual(['0a-0', '0a-2'])
  })

  it('goes on in a new pack after a write that failed', async () => {
    await using packs = await openPacks(work.path)
    await writeFile(work.at('packs', '1.pack'), 'in the way')
    await expect(keepOne(packs, 0)).rejects.toThrow('EEXIST')
    await keepOne(packs, 1)
    expect((await packNames()).sort()).toEqual(['1.pack', '2.pack'])
  })

  it('lets go of a pack only when the files of all its blobs are written', async () => {
    await using packs = await openPacks(work.path)
    const begun = Promise.withResolvers<void>()
    const goOn = Promise.withResolvers<void>()
    const late = packs.keep(keyOf(2), bytesOf(2), async () => {
      begun.resolve()
      await goOn.promise
      return writeBlob(work.path, keyOf(2), bytesOf(2))
    })
    const early = keepOne(packs, 1)
    await Promise.all([begun.promise, early])
    let isForgotten = false
    const forgotten = packs.forget(keyOf(1)).then(() => {
      isForgotten = true
    })
    // A round of others shows that it is not only late: they go into another pack.
    await keepOne(packs, 3)
    expect(isForgotten).toBe(false)
    expect((await packNames()).sort()).toEqual(['1.pack', '2.pack'])
    goOn.resolve()
    await Promise.all([late, forgotten])
    expect(await packNames()).toEqual(['2.pack'])
  })

  it('closes a pack only between two appends, so that nothing is promised in vain', async () => {
    await using packs = await openPacks(work.path)
    const all = Array.from({ length: 200 }, async (_, index) => {
      await keepOne(packs, index)
      // Closes and lets go of the pack while others are being appended to it.
      if (index % 10 === 0) await packs.forget(keyOf(index))
    })
    await Promise.all(all)
    await expectAll(200)
  })
})
