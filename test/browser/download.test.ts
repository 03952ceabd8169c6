/** A download in the browser: a file that is what was sealed, or no file at all. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Artifact } from '../../schemas/artifact.ts'
import { openBrowser, type Tab, type TestBrowser } from '../support/browser.ts'
import { MIB, makeBytes } from '../support/content.ts'
import { type Fault, type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts'
import { openSignedIn } from '../support/inspector.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import {
  describeContent,
  makeContent,
  sealContent,
  sha256,
  type TestContent,
} from '../support/upload.ts'

const PART_BYTES = MIB

/** Without a picker of files, as in browsers that have none. */
const NO_PICKER = 'delete globalThis.showSaveFilePicker'
/**
 * A window that asks for a place needs somebody who answers: this answers with a real file of the
 * private folder, so that everything behind the question is what it is.
 */
const PICKER = `globalThis.showSaveFilePicker = async ({ suggestedName }) =>
  (await navigator.storage.getDirectory()).getFileHandle(suggestedName, { create: true })`
const LIST_FILES = `(async () => {
  const names = []
  for await (const name of (await navigator.storage.getDirectory()).keys()) names.push(name)
  return names
})()`
const hashFile = (name: string) => `(async () => {
  const handle = await (await navigator.storage.getDirectory()).getFileHandle('${name}')
  const digest = await crypto.subtle.digest('SHA-256', await (await handle.getFile()).arrayBuffer())
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('')
})()`

let stack: AsyncDisposableStack
let browser: TestBrowser
let server: TestServer
let proxy: FaultProxy
let runs = 0

beforeAll(async () => {
  stack = new AsyncDisposableStack()
  browser = stack.use(await openBrowser())
  server = stack.use(
    await startTestServer({ settings: { partSizeBytes: String(PART_BYTES), reverifyDays: '0' } }),
  )
  proxy = stack.use(await startFaultProxy(server.url))
})
afterAll(() => stack.disposeAsync())

/** Seals an artifact and opens its page, through the proxy, in a browser with or without picker. */
async function open(content: TestContent, script: string) {
  const target = { task: 'download', run: runs++, name: 'reports/year.bin' }
  const artifact = await sealContent(server, target, content)
  proxy.fault = () => undefined
  const tab = await openSignedIn(browser, { url: proxy.url, token: server.token })
  await tab.context.addInitScript({ content: script })
  await tab.page.goto(`/artifacts/download/${target.run}/${target.name}`)
  return { artifact, tab }
}

const start = (page: Page) => page.getByRole('button', { name: 'Download, verified' }).click()

/** What is done to every answer that carries bytes. */
function spoil(fault: Fault): void {
  proxy.fault = ({ method, path }) =>
    method === 'GET' && path.startsWith('/v1/blobs/') ? fault : undefined
}

/** Changes the bytes where the store keeps them. */
async function tamper(artifact: Artifact, change: (bytes: Buffer) => Buffer): Promise<void> {
  const [row] = await server.admin<[{ key: string }]>`
    select blob_key as key from artifact.artifact where upload_id = ${artifact.uploadId}`
  const path = join(server.storeFolder, row.key)
  await writeFile(path, change(await readFile(path)))
}

const flip = (at: number) => (bytes: Buffer) => {
  const changed = Buffer.from(bytes)
  changed[at] = (changed[at] ?? 0) ^ 1
  return changed
}

/** Waits for the refusal; nothing was handed over, and nothing is left. */
async function expectNothingKept(tab: Tab, words: RegExp): Promise<void> {
  const downloads: unknown[] = []
  tab.page.on('download', (download) => downloads.push(download))
  await start(tab.page)
  await tab.page.getByRole('status').getByText(words).waitFor()
  expect(await tab.page.evaluate(LIST_FILES)).toEqual([])
  expect(downloads).toEqual([])
}

describe('a file that agrees', () => {
  it.each([
    ['in memory', 5 * MIB + 17],
    ['in the private folder', 33 * MIB + 17],
    ['without a byte', 0],
  ])('is handed over, held %s', async (where, size) => {
    const content = describeContent(makeBytes(size, where), PART_BYTES)
    const { tab } = await open(content, NO_PICKER)
    await using _tab = tab
    const handed = tab.page.waitForEvent('download')
    await start(tab.page)
    const download = await handed
    expect(download.suggestedFilename()).toBe('year.bin')
    const bytes = await readFile(await download.path())
    expect(bytes.equals(content.bytes)).toBe(true)
    await tab.page
      .getByRole('status')
      .getByText(/^Verified: size, every part/)
      .waitFor()
  })

  it('is written where somebody picked', async () => {
    const content = makeContent(5 * MIB + 17, 'picked', PART_BYTES)
    const { tab } = await open(content, PICKER)
    await using _tab = tab
    await start(tab.page)
    await tab.page
      .getByRole('status')
      .getByText(/^Verified: .* saved as year\.bin/)
      .waitFor()
    expect(await tab.page.evaluate(hashFile('year.bin'))).toBe(content.sha256)
  })
})

describe.each([
  ['offered', NO_PICKER],
  ['picked', PICKER],
])('a file that does not agree is not %s', (_, script) => {
  it('when a byte is another one in the store', async () => {
    const content = makeContent(5 * MIB, 'stored', PART_BYTES)
    const { artifact, tab } = await open(content, script)
    await using _tab = tab
    await tamper(artifact, flip(2 * MIB + 5))
    await expectNothingKept(tab, /^Refused: Part 3 does not agree with the record/)
    const shown = await tab.page.locator('#download-refusal code.digest').allTextContents()
    const found = sha256(flip(5)(content.bytes.subarray(2 * MIB, 3 * MIB)))
    expect(shown).toEqual([content.parts[2]?.sha256, found])
  })

  it('when the last byte is another one', async () => {
    const content = makeContent(3 * MIB + 1, 'last', PART_BYTES)
    const { artifact, tab } = await open(content, script)
    await using _tab = tab
    await tamper(artifact, flip(3 * MIB))
    await expectNothingKept(tab, /^Refused: Part 4 does not agree with the record/)
  })

  it('when a byte changes on the way', async () => {
    const { tab } = await open(makeContent(3 * MIB, 'way', PART_BYTES), script)
    await using _tab = tab
    spoil({ kind: 'flip-reply', atByte: 5 })
    await expectNothingKept(tab, /^Refused: Part 1 does not agree with the record/)
  })

  it('when it is cut short in the store', async () => {
    const { artifact, tab } = await open(makeContent(3 * MIB, 'short', PART_BYTES), script)
    await using _tab = tab
    tab.permit(/status of (404|409|412|410|500|503)/)
    await tamper(artifact, (bytes) => bytes.subarray(0, MIB))
    await expectNothingKept(tab, /Nothing was kept/)
  })

  it('when the connection is cut', async () => {
    const { tab } = await open(makeContent(9 * MIB, 'cut', PART_BYTES), script)
    await using _tab = tab
    tab.permit(/net::ERR/)
    spoil({ kind: 'cut-reply', afterBytes: 4 * MIB })
    await expectNothingKept(tab, /It broke off: .*Nothing was kept/)
  })

  it('when it is cancelled', async () => {
    const { tab } = await open(makeContent(9 * MIB, 'cancelled', PART_BYTES), script)
    await using _tab = tab
    tab.permit(/net::ERR_ABORTED/)
    spoil({ kind: 'stall-reply', afterBytes: 4 * MIB })
    const downloads: unknown[] = []
    tab.page.on('download', (download) => downloads.push(download))
    await start(tab.page)
    await tab.page.getByRole('button', { name: 'Cancel' }).click()
    await tab.page.getByRole('status').getByText('Cancelled. Nothing was kept.').waitFor()
    expect(await tab.page.evaluate(LIST_FILES)).toEqual([])
    expect(downloads).toEqual([])
    // And it can be begun anew.
    proxy.fault = () => undefined
    await start(tab.page)
    await tab.page
      .getByRole('status')
      .getByText(/^Verified/)
      .waitFor()
  })
})
