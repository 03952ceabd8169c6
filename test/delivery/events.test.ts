/** What people watch: the present first, then everything, once, in order. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Beat, type Event, Reset } from '../../schemas/event.ts'
import { CreatedToken } from '../../schemas/token.ts'
import { openEventFeed } from '../../server/delivery/event-feed.ts'
import { openDatabase } from '../../server/records/database.ts'
import { appendUploadEvent, listenForEvents } from '../../server/records/events.ts'
import { endOpen } from '../../server/records/upload-endings.ts'
import { formatUpload } from '../../server/records/upload-row.ts'
import { createTestDatabase } from '../support/database.ts'
import { watchEvents } from '../support/events.ts'
import type { TestDatabase } from '../support/postgres-cluster.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import {
  claimOf,
  makeContent,
  openAndSend,
  openTestUpload,
  seal,
  sealContent,
} from '../support/upload.ts'

let database: TestDatabase
let server: TestServer
let second: TestServer
beforeAll(async () => {
  database = await createTestDatabase()
  server = await startTestServer({ database, settings: { watchersMax: '20' } })
  second = await startTestServer({ database })
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
  await second[Symbol.asyncDispose]()
  await database[Symbol.asyncDispose]()
})

const content = makeContent(200_000, 'watched')
const states = (events: Event[]) => events.map(({ upload }) => `${upload.name} ${upload.state}`)
/** The text of a stream until `isEnough`. */
async function readStream(
  { url, token }: TestServer,
  query: string,
  isEnough: (text: string) => boolean,
): Promise<string> {
  const headers = { authorization: `Bearer ${token}` }
  const { body } = await fetch(`${url}/v1/events${query}`, { headers })
  let text = ''
  for await (const chunk of body ?? []) {
    text += Buffer.from(chunk).toString()
    if (isEnough(text)) break
  }
  return text
}
const ends = (name: string, state: string) => (event: Event) =>
  event.upload.name === name && event.upload.state === state

describe('watchEvents', () => {
  it('shows what is active now, then what happens, up to the seal', async () => {
    const before = await openTestUpload(server, { task: 'show', run: 0, name: 'before' })
    await using watcher = await watchEvents(server, '?task=show')
    expect((await watcher.next()).upload).toMatchObject({ id: before.id, state: 'open' })
    await watcher.whenCurrent()
    const upload = await openAndSend(server, { task: 'show', run: 0, name: 'live' }, content)
    await server.request('PUT', `/v1/uploads/${upload.id}/progress`, {
      body: { bytes: '200000', totalBytes: '200000', attempt: 1 },
    })
    await seal(server, upload.id, claimOf(content))
    const events = await watcher.until(ends('live', 'sealed'))
    expect(states(events)).toEqual(['live open', 'live open', 'live verifying', 'live sealed'])
    expect(events[1]?.upload.progress.bytes).toBe('200000')
    expect(events.at(-1)?.upload).toMatchObject({ artifact: { sha256: content.sha256 } })
    const ids = events.map(({ id }) => BigInt(id))
    expect(ids).toEqual(ids.toSorted((one, other) => (one < other ? -1 : 1)))
  })

  it('shows a restart as the next attempt', async () => {
    const { id } = await openTestUpload(server, { task: 'again', run: 0, name: 'a' })
    await using watcher = await watchEvents(server, `?upload=${id}`)
    await watcher.whenCurrent()
    for (const attempt of [1, 2])
      await server.request('PUT', `/v1/uploads/${id}/progress`, {
        body: { bytes: '5', totalBytes: '10', attempt },
      })
    const events = await watcher.until(({ upload }) => upload.progress.attempt === 2)
    expect(events.at(-1)?.upload.progress).toMatchObject({ attempt: 2, bytes: '5' })
  })

  it('goes on after the last event without gap or double, while many write', async () => {
    const names = Array.from({ length: 30 }, (_, index) => `file-${index}`)
    const write = () =>
      Promise.all(
        names.map(async (name, index) => {
          const at = index % 2 === 0 ? server : second
          const upload = await openTestUpload(at, { task: 'resume', run: 0, name })
          await at.request('DELETE', `/v1/uploads/${upload.id}`)
        }),
      )
    let writers: ReturnType<typeof write> | undefined
    const seen: Event[] = []
    let lastEventId: string | undefined
    // It loses its connection after every third event, and comes back to the other server.
    for (let turn = 0; seen.length < 3 || !isDone(seen); turn += 1) {
      const from = turn % 2 === 0 ? server : second
      await using watcher = await watchEvents(from, '?task=resume', { lastEventId })
      await watcher.whenCurrent()
      // Not before: what had ended by then is in no picture.
      writers ??= write()
      for (let count = 0; count < 3 && !isDone(seen); count += 1) seen.push(await watcher.next())
      lastEventId = watcher.lastEventId
    }
    await writers
    function isDone(events: Event[]): boolean {
      return events.filter(({ upload }) => upload.state === 'aborted').length === names.length
    }
    const aborted = seen.filter(({ upload }) => upload.state === 'aborted')
    expect(new Set(aborted.map(({ upload }) => upload.name)).size).toBe(names.length)
    const rows = await database.server<{ id: bigint }[]>`
      select id from artifact.event where task = 'resume' order by id`
    const live = seen.slice(seen.findIndex(({ upload }) => upload.state === 'aborted'))
    const from = BigInt(live[0]?.id ?? 0)
    const expected = rows.map(({ id }) => id).filter((id) => id >= from)
    expect(live.map(({ id }) => BigInt(id))).toEqual(expected)
  })

  it('misses nothing that happens between a quiet connection and the next one', async () => {
    let lastEventId: string | undefined
    {
      await using quiet = await watchEvents(server, '?task=quiet')
      await quiet.whenCurrent()
      lastEventId = quiet.lastEventId
    }
    await sealContent(server, { task: 'quiet', run: 0, name: 'a' }, content)
    await using watcher = await watchEvents(second, '?task=quiet', { lastEventId })
    const missed = await watcher.until(ends('a', 'sealed'))
    expect(states(missed)).toEqual(['a open', 'a verifying', 'a sealed'])
  })

  it('shows the present again when what was missed is no longer kept, or never was', async () => {
    const { id } = await openTestUpload(server, { task: 'forgotten', run: 0, name: 'a' })
    for (const lastEventId of ['0', '99999999999']) {
      await database.admin`delete from artifact.event where id < (select max(id) from artifact.event)`
      await using watcher = await watchEvents(server, '?task=forgotten', { lastEventId })
      expect((await watcher.next()).upload).toMatchObject({ id, state: 'open' })
    }
    await database.admin`delete from artifact.event`
    await using watcher = await watchEvents(server, '?task=forgotten', { lastEventId: '3' })
    expect((await watcher.next()).upload).toMatchObject({ id, state: 'open' })
    await server.request('DELETE', `/v1/uploads/${id}`)
    expect((await watcher.next()).upload.state).toBe('aborted')
  })

  it('says which uploads a picture has that replaces what was asked for, to whoever asked', async () => {
    const { id } = await openTestUpload(server, { task: 'reset', run: 0, name: 'a' })
    await openTestUpload(server, { task: 'other', run: 0, name: 'hidden' })
    const unknown = '999999999999'
    const first = await readStream(server, '?task=reset', (text) => /^id: /m.test(text))
    expect(first).not.toContain('event: reset')
    const replaced = await readStream(server, `?task=reset&after=${unknown}`, (text) =>
      text.includes('event: reset'),
    )
    expect(replaced).toMatch(/event: upload.*event: reset/s)
    const reset = /id: (\d+)\nevent: reset\ndata: (.*)\n/.exec(replaced)
    expect(Reset.parse(JSON.parse(reset?.[2] ?? ''))).toEqual({ uploads: [id] })
    expect(Number(reset?.[1])).toBeLessThan(Number(unknown))
  })

  it('says every ten seconds that it lives, and ends when the token has', async () => {
    const { body } = await server.request('POST', '/v1/tokens', {
      body: { name: 'watcher', scopes: ['list:beat/**'], ttlSeconds: null },
    })
    const { token, secret } = CreatedToken.parse(body)
    const watching = watchEvents(server, '', { token: secret })
    const lives = await readStream(server, '?task=beat', (text) => text.includes('event: beat'))
    expect(Beat.parse(JSON.parse(/event: beat\ndata: (.*)\n/.exec(lives)?.[1] ?? ''))).toBeDefined()
    await using watcher = await watching
    await server.request('DELETE', `/v1/tokens/${token.id}`)
    expect(await watcher.rest()).toEqual([])
  })

  it('leaves out what a newer server has written, says so in the log, and goes on', async () => {
    await using watcher = await watchEvents(server, '?task=newer')
    await watcher.whenCurrent()
    await server.sql`
      insert into artifact.event (kind, task, run, name, body) values ('later', 'newer', 0, 'a', '{}')`
    const upload = await openTestUpload(server, { task: 'newer', run: 0, name: 'a' })
    expect((await watcher.next()).upload.id).toBe(upload.id)
    expect(server.log.join('')).toMatch(/Event \d+ cannot be read/)
  })

  it('gives the events of one server to the watchers of another', async () => {
    await using here = await watchEvents(server, '?task=both')
    await using there = await watchEvents(second, '?task=both')
    await Promise.all([here.whenCurrent(), there.whenCurrent()])
    await openTestUpload(server, { task: 'both', run: 0, name: 'one' })
    await openTestUpload(second, { task: 'both', run: 0, name: 'two' })
    const [one, two] = await Promise.all(
      [here, there].map((watcher) => watcher.until(ends('two', 'open'))),
    )
    expect(one).toEqual(two)
    expect(states(one ?? [])).toEqual(['one open', 'two open'])
  })

  it('shows what the scopes cover, and what was asked for', async () => {
    const token = await server.createToken(['list:scoped/public/*'])
    await using narrow = await watchEvents(server, '', { token })
    await using byRun = await watchEvents(server, '?task=scoped&run=7')
    await Promise.all([narrow.whenCurrent(), byRun.whenCurrent()])
    for (const [run, name] of [
      [1, 'secret'],
      [1, 'public/a'],
      [7, 'secret'],
      [7, 'public/a/b'],
      [7, 'public/z'],
    ] as const)
      await openTestUpload(server, { task: 'scoped', run, name })
    expect(states(await narrow.until(ends('public/z', 'open')))).toEqual([
      'public/a open',
      'public/z open',
    ])
    expect(states(await byRun.until(ends('public/z', 'open')))).toEqual([
      'secret open',
      'public/a/b open',
      'public/z open',
    ])
  })

  it('drops a watcher that does not read, and takes it back where it was', async () => {
    const { id } = await openTestUpload(server, { task: 'slow', run: 0, name: 'a' })
    await using feed = await openEventFeed(database.server, {
      watchersMax: 9,
      onFault: (error) => expect.unreachable(String(error)),
    })
    const { signal } = new AbortController()
    const watch = (after?: bigint, name = 'a') =>
      feed
        .watch(after, ({ upload }) => upload.task === 'slow' && upload.name === name, signal)
        [Symbol.asyncIterator]()
    const slow = watch()
    const [picture, mark] = [await slow.next(), await slow.next()]
    expect(picture.value).toMatchObject({ event: { upload: { id } }, resumeId: undefined })
    const quick = watch(undefined, 'bell')
    await quick.next()
    const [next, rung] = [slow.next(), quick.next()]
    // More than the queue of one watcher holds, and one append that rings the bell for them.
    await database.admin`
      insert into artifact.event (at, kind, task, run, name, upload_id, body)
      select now(), kind, task, run, name, upload_id, body
      from artifact.event, generate_series(1, 3000) where upload_id = ${id}`
    await openTestUpload(server, { task: 'slow', run: 0, name: 'bell' })
    const resumeIds = [BigInt((await next).value?.resumeId ?? 0)]
    // Who hears the bell knows that everything before it was offered to all.
    expect((await rung).value?.event?.upload.name).toBe('bell')
    for await (const { resumeId } of { [Symbol.asyncIterator]: () => slow })
      resumeIds.push(BigInt(resumeId ?? 0))
    expect(resumeIds.length).toBeLessThan(3000)
    const back = watch(resumeIds.at(-1))
    while (resumeIds.length < 3000) {
      const { value } = await back.next()
      resumeIds.push(BigInt(value?.resumeId ?? 0))
    }
    const first = BigInt(mark.value?.resumeId ?? 0)
    expect(resumeIds).toEqual(resumeIds.map((_, index) => first + 1n + BigInt(index)))
    for (const watcher of [back, quick]) await watcher.return?.()
  })

  it('tells of what is in the picture no second time, and of what was under way meanwhile', async () => {
    const stop = new AbortController()
    await using feed = await openEventFeed(database.server, {
      watchersMax: 9,
      onFault: (error) => expect.unreachable(String(error)),
    })
    const watcher = feed
      .watch(undefined, ({ upload }) => upload.task === 'ahead', stop.signal)
      [Symbol.asyncIterator]()
    const { id } = await openTestUpload(server, { task: 'ahead', run: 0, name: 'slow' })
    const held = Promise.withResolvers<void>()
    const appended = Promise.withResolvers<void>()
    const slow = database.server.begin(async (tx) => {
      const upload = await endOpen(tx, id, 'aborted', new Date())
      if (upload !== undefined) await appendUploadEvent(tx, formatUpload(upload), new Date())
      appended.resolve()
      await held.promise
    })
    await appended.promise
    await openTestUpload(server, { task: 'ahead', run: 0, name: 'quick' })
    const shown = [await watcher.next(), await watcher.next()]
    expect(states(shown.flatMap(({ value }) => value?.event ?? [])).sort()).toEqual([
      'quick open',
      'slow open',
    ])
    const mark = (await watcher.next()).value
    expect(mark).toMatchObject({ event: undefined })
    held.resolve()
    await slow
    await openTestUpload(server, { task: 'ahead', run: 0, name: 'later' })
    const events = [await watcher.next(), await watcher.next()]
    expect(states(events.flatMap(({ value }) => value?.event ?? []))).toEqual([
      'slow aborted',
      'later open',
    ])
    // Who comes back with the mark misses neither.
    expect(BigInt(mark?.resumeId ?? 0)).toBeLessThan(BigInt(events[0]?.value?.resumeId ?? 0))
    stop.abort()
    await watcher.return?.()
  })

  it('finds by itself what nobody has announced', async () => {
    await using watcher = await watchEvents(server, '?task=silent')
    await watcher.whenCurrent()
    const { id } = await openTestUpload(server, { task: 'silent', run: 0, name: 'a' })
    await watcher.next()
    const aborted = await database.server.begin(async (tx) => {
      const upload = await endOpen(tx, id, 'aborted', new Date())
      if (upload !== undefined) await appendUploadEvent(tx, formatUpload(upload), new Date())
      return upload
    })
    expect(aborted?.state).toBe('aborted')
    expect((await watcher.next()).upload.state).toBe('aborted')
  })

  it('reads nothing while nobody watches', async () => {
    await using idle = await openDatabase({
      url: database.serverUrl,
      ...{ applicationName: 'idle', connectionsMax: 1 },
    })
    const onFault = (error: unknown) => expect.unreachable(String(error))
    await using feed = await openEventFeed(idle.sql, { watchersMax: 9, onFault })
    const isNear = Promise.withResolvers<void>()
    let heard = 0
    // On the connection that wakes the feed too, and after it.
    const subscription = await listenForEvents(idle.sql, () => {
      heard += 1
      if (heard > 1) isNear.resolve()
    })
    await openTestUpload(server, { task: 'idle', run: 0, name: 'a' })
    await isNear.promise
    const looks = await database.admin`
      select query from pg_stat_activity
      where application_name = 'idle' and query like '%from artifact.event%'`
    expect(looks).toEqual([])
    const stop = new AbortController()
    const watcher = feed
      .watch(undefined, ({ upload }) => upload.task === 'idle', stop.signal)
      [Symbol.asyncIterator]()
    expect((await watcher.next()).value?.event?.upload).toMatchObject({ task: 'idle', name: 'a' })
    stop.abort()
    await watcher.return?.()
    await subscription.unlisten()
  })

  it('refuses one watcher too many before it begins', async () => {
    const watchers = await Promise.all(
      Array.from({ length: 20 }, () => watchEvents(server, '?task=none')),
    )
    await Promise.all(watchers.map((watcher) => watcher.whenCurrent()))
    const refused = await server.request('GET', '/v1/events')
    expect(refused).toMatchObject({ status: 503, body: { code: 'overloaded', retryable: true } })
    for (const watcher of watchers) await watcher[Symbol.asyncDispose]()
    const isFree = async () => {
      await using again = await watchEvents(server, '?task=none')
      return again.status
    }
    await expect.poll(isFree, { timeout: 10_000 }).toBe(200)
  })

  it('ends its streams when the server stops', async () => {
    const third = await startTestServer({ database })
    await using watcher = await watchEvents(third, '?task=none')
    await watcher.whenCurrent()
    await third[Symbol.asyncDispose]()
    expect(await watcher.rest()).toEqual([])
  })
})
