/** The first page while real uploads run: what moves, what stops, what ends, and how that is told. */
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { connect, upload } from '../../client/client.ts'
import { systemClock } from '../../server/clock.ts'
import { closeUploads, moveUploads, openUploads } from '../bench/event-load.ts'
import { openBrowser, type TestBrowser } from '../support/browser.ts'
import { writeBytes } from '../support/content.ts'
import { createTestDatabase } from '../support/database.ts'
import { startFaultProxy } from '../support/fault-proxy.ts'
import { holdRecords } from '../support/hold-records.ts'
import {
  makeTurnstile,
  openSignedIn,
  percentOf,
  untilLive,
  uploadRow,
} from '../support/inspector.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import {
  claimOf,
  makeContent,
  openAndSend,
  openTestUpload,
  seal,
  sealContent,
  sha256,
  TEST_PART_BYTES,
} from '../support/upload.ts'
import { makeWorkFolder, type WorkFolder } from '../support/work-folder.ts'

const PARTS = 40
/** The client says at most once a second how far it is. */
const PATIENCE = { timeout: 20_000, interval: 100 }

let stack: AsyncDisposableStack
let browser: TestBrowser
let server: TestServer
/** Another process as far as the database can tell, with a store of its own. */
let neighbour: TestServer
let folder: WorkFolder

beforeAll(async () => {
  stack = new AsyncDisposableStack()
  browser = stack.use(await openBrowser())
  const database = stack.use(await createTestDatabase())
  server = stack.use(await startTestServer({ database }))
  neighbour = stack.use(await startTestServer({ database }))
  folder = stack.use(await makeWorkFolder())
})
afterAll(() => stack.disposeAsync())

/** A signed-in tab on the first page, live. */
async function watch(token?: string, before?: (page: Page) => Promise<void>) {
  const tab = await openSignedIn(browser, server, token === undefined ? {} : { token })
  await before?.(tab.page)
  await tab.page.goto('/')
  await untilLive(tab.page)
  return tab
}

const report = (id: string, bytes: number, totalBytes: number | null = PARTS * TEST_PART_BYTES) =>
  server.request('PUT', `/v1/uploads/${id}/progress`, {
    body: {
      bytes: String(bytes),
      totalBytes: totalBytes === null ? null : String(totalBytes),
      attempt: 1,
    },
  })

describe('an upload of many parts', () => {
  it('moves its bar while one watches, and ends with its digest', async () => {
    await using tab = await watch()
    await using proxy = await startFaultProxy(server.url)
    const turnstile = makeTurnstile(proxy)
    const bytes = await writeBytes(folder.at('moves.dump'), PARTS * TEST_PART_BYTES)
    await using connection = connect({ url: proxy.url, token: server.token })
    const target = { task: 'nightly', run: 1 }
    const sealed = upload(connection, { file: folder.at('moves.dump') }, target, { concurrency: 2 })
    const row = uploadRow(tab.page, 'nightly/1/moves.dump')
    await row.getByText('Sending').waitFor()
    turnstile.pass(PARTS / 4)
    await expect.poll(() => percentOf(row), PATIENCE).toBeGreaterThanOrEqual(25)
    expect(await percentOf(row)).toBeLessThan(40)
    await row.getByText(/of 2\.5 MiB/).waitFor()
    turnstile.pass(PARTS / 2)
    await expect.poll(() => percentOf(row), PATIENCE).toBeGreaterThanOrEqual(75)
    expect(await percentOf(row)).toBeLessThan(90)
    turnstile.pass(PARTS)
    await sealed
    await row.getByText('Sealed').waitFor()
    expect(await row.locator('.upload-digest code.digest').textContent()).toBe(sha256(bytes))
    await expect
      .poll(() => tab.page.locator('#news').textContent(), PATIENCE)
      .toContain('nightly/1/moves.dump is sealed')
    // It goes down to what has ended, once.
    const ended = tab.page.getByRole('region', { name: 'Just ended' })
    await uploadRow(ended.page(), 'nightly/1/moves.dump').waitFor()
    await expect
      .poll(() => ended.getByRole('heading', { name: 'nightly/1/moves.dump' }).count(), PATIENCE)
      .toBe(1)
    expect(await row.count()).toBe(1)
  })

  it('tells its second attempt, and when that began', async () => {
    await using tab = await watch()
    await using proxy = await startFaultProxy(server.url)
    const turnstile = makeTurnstile(proxy)
    await writeBytes(folder.at('again.dump'), PARTS * TEST_PART_BYTES, 'again')
    await using connection = connect({ url: proxy.url, token: server.token })
    const begin = (signal?: AbortSignal) =>
      upload(
        connection,
        { file: folder.at('again.dump') },
        { task: 'nightly', run: 2 },
        { concurrency: 2, journal: folder.at('journal'), signal },
      )
    const stop = new AbortController()
    const first = begin(stop.signal)
    const row = uploadRow(tab.page, 'nightly/2/again.dump')
    turnstile.pass(10)
    await expect.poll(() => percentOf(row), PATIENCE).toBeGreaterThanOrEqual(25)
    stop.abort()
    await expect(first).rejects.toMatchObject({ code: 'interrupted' })
    const second = begin()
    await row.getByText(/^2nd attempt, restarted at \d{2}:\d{2}$/).waitFor()
    expect(await row.count()).toBe(1)
    turnstile.pass(2 * PARTS)
    await second
    await row.getByText('Sealed').waitFor()
  })
})

describe('an upload', () => {
  it('stalls when nothing has moved for half a minute, and goes on when it moves', async () => {
    const total = PARTS * TEST_PART_BYTES
    const { id } = await openTestUpload(
      server,
      { task: 'stall', run: 0, name: 'a' },
      { sizeBytes: String(total) },
    )
    await report(id, total / 2)
    await using tab = await watch(undefined, (page) => page.clock.install())
    const row = uploadRow(tab.page, 'stall/0/a')
    await row.getByText('Sending').waitFor()
    await tab.page.clock.fastForward(31_000)
    await row.getByText('Stalled').waitFor()
    await row.getByText(/no movement for 3\d s/).waitFor()
    expect(await row.getAttribute('data-state')).toBe('stalled')
    // Set back, so that the page and the server agree about the time again.
    await tab.page.clock.setSystemTime(new Date())
    await report(id, (total * 3) / 4)
    await row.getByText('Sending').waitFor()
    expect(await percentOf(row)).toBe(75)
  })

  it('says so while its size is not known', async () => {
    const { id } = await openTestUpload(server, { task: 'pipe', run: 0, name: 'a' })
    await using tab = await watch()
    const row = uploadRow(tab.page, 'pipe/0/a')
    await report(id, 3 * 1024 ** 2, null)
    await row.getByText('3.0 MiB, size not known yet').waitFor()
    expect(await percentOf(row)).toBeUndefined()
    expect(await row.locator('.upload-percent').textContent()).toBe('')
  })

  it('shows both digests when its seal is refused', async () => {
    await using tab = await watch()
    const content = makeContent(3 * TEST_PART_BYTES, 'refused')
    const { id } = await openAndSend(server, { task: 'refused', run: 0, name: 'a' }, content)
    const row = uploadRow(tab.page, 'refused/0/a')
    await row.getByText('Sending').waitFor()
    const claimed = sha256('something else')
    const reply = await seal(server, id, { ...claimOf(content), sha256: claimed })
    expect(reply.status).toBe(422)
    await row.getByText('Failed').waitFor()
    const digests = row.locator('.upload-problem code.digest')
    expect(await digests.allTextContents()).toEqual([claimed, content.sha256])
    expect(await row.getByText('digest_mismatch').isVisible()).toBe(true)
  })

  it('verifies with a bar of its own until the record is there', async () => {
    // By its clock everything takes long, so it tells how far it is after every piece.
    let aheadMs = 0
    const clock = () => {
      aheadMs += 500
      return new Date(systemClock().getTime() + aheadMs)
    }
    await using slow = await startTestServer({ clock })
    await using tab = await openSignedIn(browser, slow)
    await tab.page.goto('/')
    await untilLive(tab.page)
    const content = makeContent(30 * TEST_PART_BYTES, 'verifies')
    const { id } = await openAndSend(slow, { task: 'verifies', run: 0, name: 'a' }, content)
    const row = uploadRow(tab.page, 'verifies/0/a')
    await using held = await holdRecords(slow.admin)
    const sealed = seal(slow, id, claimOf(content))
    await row.getByText('Verifying', { exact: true }).waitFor()
    await row.getByText('read back').waitFor()
    const bar = row.locator('progress.bar-verified')
    await bar.waitFor()
    await expect.poll(async () => Number(await bar.getAttribute('value'))).toBeGreaterThan(0)
    await held[Symbol.asyncDispose]()
    expect((await sealed).status).toBe(200)
    await row.getByText('Sealed', { exact: true }).waitFor()
    await bar.waitFor({ state: 'hidden' })
  })

  it('ends in words when it is aborted', async () => {
    const { id } = await openTestUpload(server, { task: 'aborted', run: 0, name: 'a' })
    await using tab = await watch()
    const row = uploadRow(tab.page, 'aborted/0/a')
    await row.getByText('Sending').waitFor()
    await server.request('DELETE', `/v1/uploads/${id}`)
    await row.getByText('Aborted', { exact: true }).waitFor()
  })
})

describe('the page', () => {
  it('shows what goes through another server', async () => {
    await using tab = await watch()
    const content = makeContent(3 * TEST_PART_BYTES, 'elsewhere')
    const target = { task: 'elsewhere', run: 0, name: 'a' }
    const { id } = await openAndSend(neighbour, target, content)
    const row = uploadRow(tab.page, 'elsewhere/0/a')
    await row.getByText('Sending').waitFor()
    await seal(neighbour, id, claimOf(content))
    await row.getByText('Sealed').waitFor()
    expect(await row.count()).toBe(1)
  })

  it('shows only what the token may list, at first and later', async () => {
    await openTestUpload(server, { task: 'mine', run: 0, name: 'before' })
    await openTestUpload(server, { task: 'theirs', run: 0, name: 'before' })
    await using tab = await watch(await server.createToken(['list:mine/**']))
    await uploadRow(tab.page, 'mine/0/before').waitFor()
    await openTestUpload(server, { task: 'theirs', run: 0, name: 'after' })
    await sealContent(server, { task: 'theirs', run: 0, name: 'sealed' }, makeContent(10))
    await openTestUpload(server, { task: 'mine', run: 0, name: 'after' })
    // Events come in order: what was not to be shown would be here by now.
    await uploadRow(tab.page, 'mine/0/after').waitFor()
    expect(await tab.page.content()).not.toContain('theirs')
  })

  it('says that one is signed out when the token is revoked, and shows nothing new', async () => {
    const token = await server.createToken(['list:revoked/**'])
    await using tab = await watch(token)
    tab.permit(/status of 401/)
    await server.admin`
      update artifact.token set revoked_at = now() where scopes = ${['list:revoked/**']}`
    await tab.page.getByText('Signed out at').waitFor({ timeout: 40_000 })
    await openTestUpload(server, { task: 'revoked', run: 0, name: 'secret' })
    await openTestUpload(server, { task: 'revoked', run: 0, name: 'secret too' })
    expect(await tab.page.content()).not.toContain('revoked/0/secret')
    await tab.page.getByRole('link', { name: 'Sign in again' }).click()
    await tab.page.getByRole('heading', { name: 'Sign in' }).waitFor()
  })

  it('keeps every row in its place while hundreds move', async () => {
    const ids = await openUploads(server.admin, 300)
    await using tab = await watch()
    const rows = tab.page.locator('#running > li')
    const readOrder = () => rows.evaluateAll((all) => all.map((row) => row.getAttribute('data-id')))
    const before = await readOrder()
    expect(before.filter((id) => id !== null && ids.includes(id))).toHaveLength(300)
    const moving = moveUploads(server.admin, ids, 1000)
    const still = tab.page.locator('#running > li progress.bar-sent[value="0"]')
    await expect.poll(() => still.count(), PATIENCE).toBe(0)
    await moving.stop()
    expect(await readOrder()).toEqual(before)
    await closeUploads(server.admin, ids)
  })

  it('is a picture of one moment without JavaScript', async () => {
    const { id } = await openTestUpload(server, { task: 'still', run: 0, name: 'a' })
    await report(id, TEST_PART_BYTES * 10)
    await using tab = await openSignedIn(browser, server, { javaScriptEnabled: false })
    await tab.page.goto('/')
    const row = uploadRow(tab.page, 'still/0/a')
    expect(await row.getByText('25 %').isVisible()).toBe(true)
    // Text inside of <noscript> is no text to a locator, whether it shows or not.
    const notice = tab.page.locator('noscript', { has: tab.page.locator('.notice') })
    expect(await notice.isVisible()).toBe(true)
    expect(await notice.textContent()).toContain('this is a picture of one moment')
    expect(await tab.page.getByText(/^A picture of/).isVisible()).toBe(true)
  })
})
