/** The index of packs among servers whose clocks do not agree. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../server/clock.ts'
import { createPackIndex } from '../../server/records/packs.ts'
import type { PackIndex, PackSlice } from '../../server/stores/pack-index.ts'
import { newKey } from '../contract/subject.ts'
import { createTestDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/postgres-cluster.ts'

let database: TestDatabase
let index: PackIndex
/** Of a server whose clock is an hour ahead. */
let hasty: PackIndex
beforeAll(async () => {
  database = await createTestDatabase()
  index = createPackIndex(database.server, systemClock)
  hasty = createPackIndex(database.server, () => new Date(Date.now() + 3_600_000))
})
afterAll(() => database?.[Symbol.asyncDispose]())

const makeSlices = (count: number): PackSlice[] =>
  Array.from({ length: count }, (_, at) => ({
    key: newKey(),
    sha256: 'a'.repeat(64),
    firstByte: 100 * at,
    sizeBytes: 9,
  }))
const placesOf = async (slices: readonly PackSlice[]) =>
  (await index.find(slices.map(({ key }) => key))).map(({ pack }) => pack)

describe('a pack on its way that another server takes for abandoned', () => {
  it('gets no blobs: its object may be gone in a moment', async () => {
    const pack = randomUUID()
    const slices = makeSlices(4)
    await index.announce(pack)
    expect(await hasty.take(pack)).toEqual([])
    await expect(index.place(pack, slices)).rejects.toMatchObject({ code: 'store_unavailable' })
    expect(await placesOf(slices)).toEqual([])
  })

  it('gets none of another pack either, which keeps all of them', async () => {
    const [old, anew] = [randomUUID(), randomUUID()]
    const slices = makeSlices(4)
    await index.announce(old)
    await index.place(old, slices)
    await index.announce(anew)
    expect(await hasty.take(anew)).toEqual([])
    await expect(index.move(old, anew, slices)).rejects.toMatchObject({ code: 'store_unavailable' })
    expect(await placesOf(slices)).toEqual([old, old, old, old])
  })
})
