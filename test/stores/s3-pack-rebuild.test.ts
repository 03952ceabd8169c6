/** The index of packs is made again from the packs, against a real gateway: what comes back, and what does not. */
import { randomUUID } from 'node:crypto'
import { beforeEach, describe, expect, it } from 'vitest'
import { ArtifactError } from '../../schemas/problems.ts'
import { PACK_BYTES_MAX } from '../../server/stores/pack-examination.ts'
import { formatPackKey } from '../../server/stores/pack-index.ts'
import { formatPack } from '../../server/stores/pack-record.ts'
import { flipBit, sha256Of } from '../contract/subject.ts'
import {
  makePuts,
  openPackedStore,
  type PackedStore,
  type Put,
  referenceOf,
} from '../support/packed-store.ts'

let at: PackedStore

beforeEach(async () => {
  at = await openPackedStore()
  return () => at[Symbol.asyncDispose]()
})

const rebuild = (from = at.store, dryRun = false) => from.rebuildIndex({ dryRun })

/** Puts a pack beside those that the store made. */
async function plantPack(pack: Uint8Array): Promise<string> {
  const key = `${at.prefix}/${formatPackKey(randomUUID())}`
  await at.bucket.write(key, pack)
  return key
}

/** The key as the store has it. */
const ofStore = (key: string) => key.slice(at.prefix.length + 1)

describe('an index that is older than the bucket', () => {
  it('learns where neighbours of what was removed lie, and of packs that came later', async () => {
    const puts = makePuts()
    await at.putPack(puts)
    await at.seal(puts)
    const restore = await at.backUpIndex()
    const [gone, ...rest] = puts
    if (gone === undefined) throw new Error('Nothing was put')
    await at.remove(gone)
    const later = makePuts()
    await at.putPack(later)
    await at.seal(later)
    await restore()
    await at.expectNone([...rest, ...later])
    await expect(at.readOne(later[0] ?? gone)).rejects.toMatchObject({
      expected: expect.stringContaining('artifact packs rebuild'),
    })
    const expected = { packs: 2, added: 12, moved: 11, dropped: 1, unrecorded: 0, busy: 0 }
    const nothing = { lost: { count: 0 }, faults: { count: 0 } }
    expect(await rebuild(at.store, true)).toMatchObject({ ...expected, ...nothing })
    await at.expectNone([...rest, ...later])
    expect(await rebuild()).toMatchObject({ ...expected, ...nothing })
    await at.expectAll([...rest, ...later])
    await at.expectNone([gone])
    expect(await at.isInBucket(gone)).toBe(false)
    expect(await rebuild()).toMatchObject({ packs: 2, added: 0, moved: 0, dropped: 0, ...nothing })
    await at.tidyLater()
    expect(await at.countNotes()).toBe(2)
    await at.expectAll([...rest, ...later])
  })

  it('that knows of a pack only that it was to come loses nothing to the sweep', async () => {
    const puts = makePuts()
    const pack = await at.putPack(puts)
    await at.seal(puts)
    await at.forgetIndex()
    const id = pack.split('/').at(-1)?.replace('.pack', '') ?? ''
    await at.book.announce(id)
    expect(await rebuild()).toMatchObject({ busy: 1, added: 0, lost: { count: 12 } })
    await at.expectNone(puts)
    await at.tidyLater()
    await at.expectAll(puts)
    await at.tidyLater()
    await at.expectAll(puts)
    expect(await at.countNotes()).toBe(1)
  })

  it('says what the bucket has lost too', async () => {
    const [kept, lost] = [makePuts(), makePuts()]
    await at.putPack(kept)
    const pack = await at.putPack(lost)
    await at.seal([...kept, ...lost])
    await at.bucket.remove(pack)
    for (const isDry of [true, false]) {
      const report = await rebuild(at.store, isDry)
      expect(report).toMatchObject({ dropped: 12, lost: { count: 12 } })
      expect(report.lost.references.toSorted()).toEqual(lost.map(referenceOf).toSorted())
    }
    await at.expectAll(kept)
    await at.tidyLater()
    expect(await at.countNotes()).toBe(1)
  })
})

describe('an index that is lost', () => {
  it('comes back whole, and what is removed then is removed', async () => {
    const puts = makePuts()
    await at.putPack(puts)
    await at.seal(puts)
    await at.forgetIndex()
    expect(await rebuild()).toMatchObject({ packs: 1, records: 12, added: 12, dropped: 0 })
    await at.expectAll(puts)
    const [gone, ...rest] = puts
    if (gone === undefined) throw new Error('Nothing was put')
    await at.remove(gone)
    expect(await at.isInBucket(gone)).toBe(false)
    await at.expectAll(rest)
  })

  it('does not bring back what the log says was removed, whose bytes go with the next sweep', async () => {
    const puts = makePuts()
    await at.putPack(puts)
    await at.seal(puts)
    const [gone, ...rest] = puts
    if (gone === undefined) throw new Error('Nothing was put')
    await at.sayRemoved(gone)
    await at.forgetIndex()
    expect(await rebuild()).toMatchObject({ added: 11, lost: { count: 0 } })
    await at.expectNone([gone])
    await at.tidyLater()
    expect(await at.isInBucket(gone)).toBe(false)
    await at.expectAll(rest)
  })

  it('forgets a place that it has of what was removed', async () => {
    const puts = makePuts()
    await at.putPack(puts)
    await at.seal(puts)
    const [gone, ...rest] = puts
    if (gone === undefined) throw new Error('Nothing was put')
    await at.sayRemoved(gone)
    expect(await rebuild()).toMatchObject({ added: 0, dropped: 1 })
    await at.tidyLater()
    expect(await at.isInBucket(gone)).toBe(false)
    await at.expectAll(rest)
  })

  it('keeps blobs of which there is no record: an older database may be followed by a newer', async () => {
    const puts = makePuts()
    await at.putPack(puts)
    await at.forgetIndex()
    expect(await rebuild()).toMatchObject({ added: 12, unrecorded: 12, lost: { count: 0 } })
    await at.tidyLater()
    await at.seal(puts)
    await at.expectAll(puts)
  })

  it('gives one place to a blob that two packs have, and lets the other pack go', async () => {
    const puts = makePuts()
    const pack = await at.putPack(puts)
    await at.seal(puts)
    await plantPack(await at.bucket.read(pack))
    await at.forgetIndex()
    expect(await rebuild()).toMatchObject({ packs: 2, added: 12 })
    await at.expectAll(puts)
    await at.tidyLater()
    expect(await at.bucket.listKeys()).toHaveLength(1)
    await at.expectAll(puts)
  })
})

describe('packs that are not as they were put', () => {
  it('are named when bytes differ, which are still refused, and neighbours come', async () => {
    const puts = makePuts()
    const pack = await at.putPack(puts)
    await at.seal(puts)
    const [changed, ...rest] = puts
    if (changed === undefined) throw new Error('Nothing was put')
    const whole = Buffer.from(await at.bucket.read(pack))
    await at.bucket.write(pack, flipBit(whole, whole.indexOf(changed.bytes)))
    await at.forgetIndex()
    const report = await rebuild()
    const reference = referenceOf(changed)
    const fault = { object: ofStore(pack), kind: 'changed', key: changed.plan.key, reference }
    expect(report).toMatchObject({ added: 12, faults: { count: 1, list: [fault] } })
    await at.expectAll(rest)
    expect(await at.readOne(changed)).not.toBe(String(changed.bytes))
    // A whole copy in another pack takes its place.
    await plantPack(whole)
    expect(await rebuild()).toMatchObject({ moved: 1, added: 0, lost: { count: 0 } })
    await at.expectAll(puts)
  })

  it('are named when they are cut, and what is whole comes', async () => {
    const puts = makePuts()
    const pack = await at.putPack(puts)
    await at.seal(puts)
    const whole = await at.bucket.read(pack)
    await at.bucket.write(pack, whole.subarray(0, whole.length / 2))
    await at.forgetIndex()
    const report = await rebuild()
    const [fault] = report.faults.list
    expect(fault).toMatchObject({ object: ofStore(pack), kind: 'cut' })
    expect(report.added).toBeGreaterThan(3)
    expect(report.lost.count).toBe(12 - report.added)
    const isLost = (put: Put) => report.lost.references.includes(referenceOf(put))
    await at.expectAll(puts.filter((put) => !isLost(put)))
    await at.expectNone(puts.filter(isLost))
  })

  it('are believed no further than the record wants their bytes', async () => {
    const [one, ...others] = makePuts()
    if (one === undefined) throw new Error('Nothing was made')
    await at.seal([one, ...others])
    const forged = Buffer.from('forged')
    const pack = await plantPack(formatPack([{ key: one.plan.key, bytes: forged }]).pack)
    const report = await rebuild()
    expect(report).toMatchObject({ added: 0, lost: { count: 12 } })
    expect(report.faults.list).toEqual([
      {
        ...{ object: ofStore(pack), kind: 'other', key: one.plan.key },
        ...{ reference: referenceOf(one), expected: sha256Of(one.bytes), found: sha256Of(forged) },
      },
    ])
    expect(await at.countNotes()).toBe(0)
    expect(await at.bucket.listKeys()).toEqual([pack])
  })

  it('are named and left alone when they are none', async () => {
    const puts = makePuts()
    const pack = await at.putPack(puts)
    await at.seal(puts)
    const foreign = [
      `${at.prefix}/packs/readme.txt`,
      `${at.prefix}/packs/00/ffffffff-ffff-4fff-8fff-ffffffffffff.pack`,
    ]
    for (const key of foreign) await at.bucket.write(key, Buffer.from('hello'))
    const garbage = await plantPack(Buffer.from('no record at all'))
    const large = await plantPack(Buffer.alloc(PACK_BYTES_MAX + 1))
    await at.forgetIndex()
    const report = await rebuild()
    expect(report).toMatchObject({ added: 12, faults: { count: 4 } })
    expect(report.faults.list.map(({ object, kind }) => `${kind} ${object}`).toSorted()).toEqual(
      [
        ...[...foreign, garbage].map((key) => `foreign ${ofStore(key)}`),
        `too-large ${ofStore(large)}`,
      ].toSorted(),
    )
    await at.tidyLater()
    const keys = await at.bucket.listKeys()
    expect(keys.toSorted()).toEqual([pack, ...foreign, garbage, large].toSorted())
  })

  it('are found on every page of the list', async () => {
    const puts = makePuts()
    await at.putPack(puts)
    await at.seal(puts)
    await at.forgetIndex()
    const names = Array.from({ length: 1010 }, (_, index) => `${at.prefix}/packs/${index}`)
    for (let from = 0; from < names.length; from += 50)
      await Promise.all(
        names.slice(from, from + 50).map((key) => at.bucket.write(key, Buffer.alloc(1))),
      )
    const report = await rebuild()
    expect(report).toMatchObject({ added: 12, faults: { count: 1010 } })
    expect(report.faults.list).toHaveLength(200)
  })
})

describe('a rebuild that is not alone', () => {
  it('gives no place to what is removed at that moment', async () => {
    const puts = makePuts()
    await at.putPack(puts)
    await at.seal(puts)
    await at.forgetIndex()
    const [gone, ...rest] = puts
    if (gone === undefined) throw new Error('Nothing was put')
    await using other = await at.openStore(({ census }) => ({
      census: {
        ...census,
        async adopt(pack, adoption) {
          await at.remove(gone)
          return census.adopt(pack, adoption)
        },
      },
    }))
    await rebuild(other)
    await at.expectNone([gone])
    await at.tidyLater()
    expect(await at.isInBucket(gone)).toBe(false)
    await at.expectAll(rest)
  })

  it('keeps the place that a server has given meanwhile', async () => {
    const puts = makePuts()
    await at.putPack(puts)
    await at.seal(puts)
    await at.forgetIndex()
    let isFirst = true
    await using other = await at.openStore(({ census }) => ({
      census: {
        ...census,
        async adopt(pack, adoption) {
          if (isFirst) {
            isFirst = false
            await rebuild()
            const [gone] = puts
            if (gone !== undefined) await at.remove(gone)
          }
          return census.adopt(pack, adoption)
        },
      },
    }))
    await rebuild(other)
    await at.tidyLater()
    await at.expectAll(puts.slice(1))
    expect(await at.bucket.listKeys()).toHaveLength(1)
  })

  it('meets another one, uploads and removals, and all of them come out right', async () => {
    const puts = Array.from({ length: 4 }, () => makePuts())
    for (const some of puts) await at.putPack(some)
    await at.seal(puts.flat())
    const restore = await at.backUpIndex()
    const gone = puts.flatMap(([first]) => first ?? [])
    for (const put of gone) await at.remove(put)
    await restore()
    await using other = await at.openStore()
    const later = makePuts()
    const removed = puts.flatMap(([, second]) => second ?? [])
    const [, , stored] = await Promise.all([
      rebuild(),
      rebuild(other),
      Promise.all(later.map(({ plan, bytes }) => other.put(plan, bytes))).then(() =>
        at.seal(later),
      ),
      // One after the other, as the log says them.
      removed.reduce((before, put) => before.then(() => at.remove(put)), Promise.resolve()),
    ])
    expect(stored).toBeUndefined()
    expect(await rebuild()).toMatchObject({ lost: { count: 0 }, faults: { count: 0 } })
    await at.tidyLater()
    await at.tidyLater()
    for (const put of [...gone, ...removed]) expect(await at.isInBucket(put)).toBe(false)
    await at.expectNone([...gone, ...removed])
    await at.expectAll([...puts.flatMap((some) => some.slice(2)), ...later])
  })

  it.each(['before', 'after'])(
    'breaks off %s any pack, and is finished by the next',
    async (when) => {
      const puts = Array.from({ length: 3 }, () => makePuts(4))
      for (const some of puts) await at.putPack(some)
      await at.seal(puts.flat())
      await at.forgetIndex()
      let rounds = 0
      for (let isDone = false; !isDone; rounds++) {
        let adoptions = 0
        await using broken = await at.openStore(({ census }) => ({
          census: {
            ...census,
            async adopt(pack, adoption) {
              const isLast = ++adoptions === 2
              if (isLast && when === 'before') throw new Error('It broke off')
              const isAdopted = await census.adopt(pack, adoption)
              if (isLast) throw new Error('It broke off')
              return isAdopted
            },
          },
        }))
        isDone = await rebuild(broken).then(
          () => true,
          () => false,
        )
      }
      expect(rounds).toBeGreaterThan(1)
      await at.expectAll(puts.flat())
      await at.tidyLater()
      await at.expectAll(puts.flat())
      expect(await at.countNotes()).toBe(3)
    },
  )

  it('changes nothing when it looks into another bucket, and ends when it is told to', async () => {
    const puts = makePuts()
    await at.putPack(puts)
    await at.seal(puts)
    await using elsewhere = await at.openStore(undefined, `${at.prefix}/elsewhere`)
    await expect(rebuild(elsewhere)).rejects.toMatchObject({ code: 'configuration' })
    const stopped = new ArtifactError('interrupted', 'Cannot go on: it was told to stop')
    const signal = AbortSignal.abort(stopped)
    await expect(at.store.rebuildIndex({ dryRun: false, signal })).rejects.toBe(stopped)
    await at.expectAll(puts)
  })
})
