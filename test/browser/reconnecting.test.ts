/** A server that is killed while one watches, and started again: what happened meanwhile is not lost. */
import type { CDPSession } from 'playwright-core'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { openDatabase, type Sql } from '../../server/records/database.ts'
import { openBrowser, type TestBrowser } from '../support/browser.ts'
import { openSignedIn, percentOf, untilLive, uploadRow } from '../support/inspector.ts'
import { createRealDatabase, type RealDatabase } from '../support/real-database.ts'
import { openSite, type ServeProcess, type Site } from '../support/serve-process.ts'
import { send, type TestServer } from '../support/server.ts'
import { claimOf, makeContent, openAndSend, openTestUpload, seal } from '../support/upload.ts'

let stack: AsyncDisposableStack
let browser: TestBrowser
let database: RealDatabase
let sql: Sql
/** The one that is watched and killed, and one that goes on. */
let watched: Site
let other: Site
let server: ServeProcess

beforeAll(async () => {
  stack = new AsyncDisposableStack()
  browser = stack.use(await openBrowser())
  database = stack.use(await createRealDatabase())
  const env = {
    ARTIFACT_DATABASE_URL: database.databaseUrl,
    ARTIFACT_MIGRATION_URL: database.migrationUrl,
  }
  const settings = { 'part-size-bytes': '65536' }
  watched = stack.use(await openSite({ env, settings }))
  other = stack.use(await openSite({ env, settings }))
  server = await watched.serve()
  stack.defer(() => server[Symbol.asyncDispose]())
  stack.use(await other.serve())
  sql = stack.use(await openDatabase({ url: database.migrationUrl, connectionsMax: 1 })).sql
}, 120_000)
afterAll(() => stack.disposeAsync())

/** Requests to a server that runs as a process. */
const through = ({ url, token }: Site): Pick<TestServer, 'request' | 'url'> => ({
  url,
  request: (method, path, { body, headers = {} } = {}) =>
    send(url, method, path, {
      body,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
    }),
})

/** A new attempt is told to watchers at once; of one attempt, reports half a second apart. */
const report = (id: string, bytes: number, attempt: number) =>
  through(other).request('PUT', `/v1/uploads/${id}/progress`, {
    body: { bytes: String(bytes), totalBytes: '1000', attempt },
  })

/** Ids of the events of uploads that the browser got, in order. */
async function collectEvents(session: CDPSession): Promise<string[]> {
  const ids: string[] = []
  await session.send('Network.enable')
  session.on('Network.eventSourceMessageReceived', ({ eventName, eventId }) => {
    if (eventName === 'upload') ids.push(eventId)
  })
  return ids
}

it('goes on after a server that was killed, with no gap and nothing twice', async () => {
  const { id } = await openTestUpload(
    through(other),
    { task: 'long', run: 0, name: 'a' },
    { sizeBytes: '1000' },
  )
  await report(id, 100, 1)
  await using tab = await openSignedIn(browser, watched)
  const { page } = tab
  const seen = await collectEvents(await tab.context.newCDPSession(page))
  await page.goto('/')
  await untilLive(page)
  const first = BigInt((await page.locator('#uploads').getAttribute('data-after')) ?? '')
  const row = uploadRow(page, 'long/0/a')
  await report(id, 300, 2)
  await expect.poll(() => percentOf(row)).toBe(30)

  tab.permit(/net::ERR_(CONNECTION_REFUSED|INCOMPLETE_CHUNKED_ENCODING|CONNECTION_RESET|EMPTY)/)
  await server.kill('SIGKILL')
  await page.getByText(/^Reconnecting since \d/).waitFor()
  const content = makeContent(200_000, 'meanwhile')
  const target = { task: 'meanwhile', run: 0, name: 'b' }
  const meanwhile = await openAndSend(through(other), target, content)
  await seal(through(other), meanwhile.id, claimOf(content))
  await report(id, 700, 3)
  expect(await uploadRow(page, 'meanwhile/0/b').count()).toBe(0)
  expect(await percentOf(row)).toBe(30)

  server = await watched.serve()
  await untilLive(page)
  await expect.poll(() => percentOf(row), { timeout: 20_000 }).toBe(70)
  await uploadRow(page, 'meanwhile/0/b').getByText('Sealed').waitFor()
  expect(await uploadRow(page, 'meanwhile/0/b').count()).toBe(1)
  const rows = await sql<{ id: bigint }[]>`
    select id from artifact.event where id > ${first} order by id`
  await expect.poll(() => seen).toEqual(rows.map((event) => event.id.toString()))
})
