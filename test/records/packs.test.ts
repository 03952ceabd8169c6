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

describe('those who are at the same pack', () => {
  /** Holds a pack as whoever gives it places does, until the other waits for it; then takes the places. */
  async function meet<T>(pack: string, slices: readonly PackSlice[], other: () => Promise<T>) {
    const keys = slices.map(({ key }) => key)
    const { answer } = await database.server.begin(async (tx) => {
      await tx`select from artifact.pack where id = ${pack} for no key update`
      const answer = other()
      answer.catch(() => undefined)
      await untilWaiting()
      await tx`update artifact.packed_blob set size_bytes = 8 where blob_key = any(${keys})`
      return { answer }
    })
    return answer
  }

  async function untilWaiting(): Promise<void> {
    await expect
      .poll(async () => {
        const rows = await database.admin`
          select from pg_stat_activity
          where datname = current_database() and wait_event_type = 'Lock'`
        return rows.length
      })
      .toBe(1)
  }

  async function placeNew(): Promise<{ pack: string; slices: PackSlice[] }> {
    const pack = randomUUID()
    const slices = makeSlices(4)
    await index.announce(pack)
    await index.place(pack, slices)
    return { pack, slices }
  }

  it('wait for each other when a blob is forgotten', async () => {
    const { pack, slices } = await placeNew()
    expect(await meet(pack, slices, () => index.forget(slices[0]?.key ?? ''))).toBe(pack)
    expect(await placesOf(slices)).toEqual([pack, pack, pack])
  })

  it('wait for each other when blobs move to another', async () => {
    const { pack, slices } = await placeNew()
    const anew = randomUUID()
    await index.announce(anew)
    await meet(pack, slices, () => index.move(pack, anew, slices))
    expect(await placesOf(slices)).toEqual([anew, anew, anew, anew])
  })

  it('wait for each other when a rebuild forgets places', async () => {
    const { pack, slices } = await placeNew()
    const { census } = createPackIndex(database.server, systemClock)
    const keys = slices.map(({ key }) => key)
    expect(await meet(pack, slices, () => census.forgetPlaces(pack, keys))).toBe(4)
    expect(await placesOf(slices)).toEqual([])
  })
})
