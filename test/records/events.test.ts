/** Events are read in the order of their ids, however the transactions that append them end. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Upload } from '../../schemas/upload.ts'
import { readPicture } from '../../server/delivery/picture.ts'
import type { Sql, Transaction } from '../../server/records/database.ts'
import { openDatabase } from '../../server/records/database.ts'
import {
  appendUploadEvent,
  deleteEvents,
  insertingEvents,
  listenForEvents,
  readEventHorizon,
  readEvents,
} from '../../server/records/events.ts'
import { openOutbox } from '../../server/records/outbox.ts'
import { createTestDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/postgres-cluster.ts'

let database: TestDatabase
let sql: Sql
beforeAll(async () => {
  database = await createTestDatabase()
  sql = database.server
})
afterAll(() => database[Symbol.asyncDispose]())

const AT = new Date('2026-11-22T08:00:00Z')
const OVER = new Error('rolled back')

function makeUpload(name: string): Upload {
  return {
    ...{ id: randomUUID(), task: 'order', run: 0, name, reference: `order/0/${name}` },
    ...{ sizeBytes: null, sha256: null, partSizeBytes: 65_536, contentType: 'text/plain' },
    ...{ labels: {}, policy: 'reread', state: 'open' },
    progress: { bytes: '0', totalBytes: null, attempt: 1, at: AT.toISOString() },
    openedAt: AT.toISOString(),
    openedBy: { tokenId: randomUUID(), tokenName: 'test' },
    ...{ movedAt: AT.toISOString(), expiresAt: AT.toISOString() },
  }
}

/** Appends in a transaction that stays open until it is told how to end. */
async function appendHeld(
  name: string,
  append: (tx: Transaction, upload: Upload, at: Date) => Promise<void> = appendUploadEvent,
): Promise<{ end(how: 'commit' | 'roll back'): Promise<void> }> {
  const appended = Promise.withResolvers<void>()
  const wanted = Promise.withResolvers<'commit' | 'roll back'>()
  const done = sql
    .begin(async (tx) => {
      await append(tx, makeUpload(name), AT)
      appended.resolve()
      if ((await wanted.promise) === 'roll back') throw OVER
    })
    .catch((error: unknown) => {
      if (error !== OVER) throw error
    })
  await Promise.race([appended.promise, done])
  return {
    end(how) {
      wanted.resolve(how)
      return done
    },
  }
}

const append = (name: string) => sql.begin((tx) => appendUploadEvent(tx, makeUpload(name), AT))

async function readNames(after: bigint) {
  const { events, isHeldBack } = await readEvents(sql, after, 100)
  return { names: events.map(({ upload }) => upload.name), isHeldBack }
}

// Locks know an id modulo 2^32, and their halves have another sign.
describe.each([1n, 2n ** 31n - 2n, 2n ** 32n - 2n])('events from id %s on', (first) => {
  beforeAll(async () => {
    await database.admin`delete from artifact.event`
    await database.admin.unsafe(`alter table artifact.event alter column id restart with ${first}`)
    // The first one ever has no other before it.
    if (first > 1n) await append('before')
  })

  it('keeps a later one back while an earlier one may still come', async () => {
    const { last } = await readEventHorizon(sql)
    const held = await appendHeld('first')
    await append('second')
    expect(await readNames(last)).toEqual({ names: [], isHeldBack: true })
    await held.end('commit')
    expect(await readNames(last)).toEqual({ names: ['first', 'second'], isHeldBack: false })
  })

  it('keeps a later one back for a server of an older version, which takes a lock of its own', async () => {
    const { last } = await readEventHorizon(sql)
    const held = await appendHeld('older', async (tx, upload, at) => {
      await tx`
        with held as materialized (select pg_advisory_xact_lock(1702260340))
        insert into artifact.event (at, kind, task, run, name, upload_id, body)
        select ${at}, 'upload', ${upload.task}, ${upload.run}, ${upload.name}, ${upload.id}, ${tx.json({ ...upload })}
        from held`
    })
    await append('newer')
    expect(await readNames(last)).toEqual({ names: [], isHeldBack: true })
    await held.end('commit')
    expect(await readNames(last)).toEqual({ names: ['older', 'newer'], isHeldBack: false })
  })

  it('keeps a later one back for one that is appended within another statement', async () => {
    const { last } = await readEventHorizon(sql)
    const held = await appendHeld('within', async (tx, upload, at) => {
      await tx`
        with change as (
          insert into artifact.task (task) values (${`order-${upload.id}`}) returning task
        )
        ${insertingEvents(tx, [upload], at, tx`change`)}`
    })
    await append('later')
    expect(await readNames(last)).toEqual({ names: [], isHeldBack: true })
    await held.end('commit')
    expect(await readNames(last)).toEqual({ names: ['within', 'later'], isHeldBack: false })
  })

  it('passes over one that will never come', async () => {
    const { last } = await readEventHorizon(sql)
    const [held, longer] = [await appendHeld('gone'), await appendHeld('longer')]
    await append('second')
    await held.end('roll back')
    expect(await readNames(last)).toEqual({ names: [], isHeldBack: true })
    await longer.end('commit')
    expect(await readNames(last)).toEqual({ names: ['longer', 'second'], isHeldBack: false })
  })

  it('keeps a later one back also when all that came before were forgotten', async () => {
    await append('old')
    await deleteEvents(sql, new Date(AT.getTime() + 1))
    const { last } = await readEventHorizon(sql)
    const held = await appendHeld('first')
    await append('second')
    expect(await readNames(last)).toEqual({ names: [], isHeldBack: true })
    await held.end('commit')
    expect(await readNames(last)).toEqual({ names: ['first', 'second'], isHeldBack: false })
  })

  it('says which events a picture has beyond those that everybody can read', async () => {
    const { last } = await readEventHorizon(sql)
    const held = await appendHeld('first')
    await append('second')
    const picture = await readPicture(sql)
    await held.end('commit')
    await append('third')
    expect(picture.last).toBe(last)
    const { events } = await readEvents(sql, picture.last, 100)
    const missing = events.filter(({ id }) => !picture.ahead.has(BigInt(id)))
    expect(missing.map(({ upload }) => upload.name)).toEqual(['first', 'third'])
  })
})

it('reads what was committed, all of it, once, in order, while many append and some give up', async () => {
  const { last: start } = await readEventHorizon(sql)
  let isOver = false
  const writers = Promise.all(
    Array.from({ length: 8 }, async (_, writer) => {
      for (let turn = 0; turn < 40; turn++)
        await sql
          .begin(async (tx) => {
            await appendUploadEvent(tx, makeUpload(`${writer}-${turn}`), AT)
            // Some stay open over several others.
            for (let wait = 0; wait < (writer * turn) % 5; wait++) await tx`select 1`
            if ((writer + turn) % 4 === 0) throw OVER
          })
          .catch((error: unknown) => {
            if (error !== OVER) throw error
          })
    }),
  ).finally(() => {
    isOver = true
  })
  const seen: bigint[] = []
  for (let last = start, isLastTurn = false; ; ) {
    const page = await readEvents(sql, last, 7)
    seen.push(...page.events.map(({ id }) => BigInt(id)))
    last = page.last
    if (page.isEnd && isLastTurn) break
    isLastTurn = isOver
  }
  await writers
  const rows = await sql<{ id: bigint }[]>`
    select id from artifact.event where id > ${start} order by id`
  expect(rows).toHaveLength(240)
  expect(seen).toEqual(rows.map(({ id }) => id))
})

describe('openOutbox()', () => {
  const fail = (error: unknown) => expect.unreachable(String(error))

  it('lets changes be committed while others are under way', async () => {
    await using outbox = openOutbox(sql, fail)
    const held = await appendHeld('slow')
    await outbox.change((tx) => appendUploadEvent(tx, makeUpload('quick'), AT))
    await held.end('commit')
  })

  it('announces what was committed, many changes at once, and the last one before it closes', async () => {
    await using listener = await openDatabase({ url: database.serverUrl })
    let heard = 0
    const connected = Promise.withResolvers<void>()
    let onNews = connected.resolve
    const subscription = await listenForEvents(listener.sql, () => {
      heard += 1
      onNews()
    })
    await connected.promise
    heard = 0
    const began = performance.now()
    {
      await using outbox = openOutbox(sql, fail)
      for (let count = 0; count < 100; count++)
        await outbox.change((tx) => appendUploadEvent(tx, makeUpload(`many-${count}`), AT))
      // One every 50 ms, by a timer that may be early, and those at either end.
      expect(heard).toBeLessThan((performance.now() - began) / 45 + 3)
    }
    const last = Promise.withResolvers<void>()
    onNews = last.resolve
    {
      await using outbox = openOutbox(sql, fail)
      await outbox.change((tx) => appendUploadEvent(tx, makeUpload('last'), AT))
    }
    await last.promise
    await subscription.unlisten()
  })

  it('gives back what the change returns, and throws what it throws', async () => {
    await using outbox = openOutbox(sql, fail)
    expect(await outbox.change(() => Promise.resolve([1, 2]))).toEqual([1, 2])
    await expect(outbox.change(() => Promise.reject(OVER))).rejects.toBe(OVER)
  })
})
