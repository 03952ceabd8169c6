/** How long every page takes and how much it weighs, as the first visitor of a million records gets it. */
import { createHash } from 'node:crypto'
import { Agent, request } from 'undici'
import { startChromium } from '../support/chromium.ts'

export interface PageTime {
  name: string
  status: number
  /** Median milliseconds until the first byte of the answer. */
  firstByteMs: number
  /** The slowest of all. */
  slowestMs: number
  /** Of the document, as compressed on the wire. */
  bytes: number
}

const VISITS = 20

/** Every kind of page over the records of `fill-records.ts`, and what a token with few rights gets. */
export function listPages(rows: number): { name: string; path: string }[] {
  const run = Math.max(0, rows / 20 - 1)
  const digest = createHash('sha256').update('content 9').digest('hex')
  const pages = {
    'uploads now': '/',
    tasks: '/tasks',
    'tasks by prefix': '/tasks?prefix=backup-3',
    'a task of many runs': '/tasks/turtle-db',
    'a task of four names': '/tasks/backup-007',
    'a run': `/tasks/turtle-db/${run}`,
    'a run of very many': '/tasks/archive/0',
    'an artifact': `/artifacts/turtle-db/${run}/db.dump`,
    'search: digest': `/search?q=${digest}`,
    'search: 8 digits': `/search?q=${digest.slice(0, 8)}`,
    'search: a prefix': '/search?q=backup',
    'search: nothing': '/search?q=nothing-like-this',
    'search: no digest': `/search?q=${'0'.repeat(64)}`,
    log: '/log',
  }
  return Object.entries(pages).map(([name, path]) => ({ name, path }))
}

/** Asks for a page several times, one after the other, over a connection that stays. */
export async function timePage(
  url: string,
  page: { name: string; path: string },
  cookie: string,
): Promise<PageTime> {
  const agent = new Agent({ connections: 1 })
  const visit = async () => {
    const began = performance.now()
    const reply = await request(new URL(page.path, url), {
      dispatcher: agent,
      headers: { cookie, accept: 'text/html', 'accept-encoding': 'gzip' },
    })
    const ms = performance.now() - began
    const bytes = (await reply.body.arrayBuffer()).byteLength
    return { status: reply.statusCode, ms, bytes }
  }
  const visits: Awaited<ReturnType<typeof visit>>[] = []
  for (let count = 0; count < VISITS; count++) visits.push(await visit())
  await agent.close()
  const times = visits.map(({ ms }) => ms).sort((one, other) => one - other)
  return {
    name: page.name,
    status: visits[0]?.status ?? 0,
    firstByteMs: times[VISITS / 2] ?? 0,
    slowestMs: times.at(-1) ?? 0,
    bytes: visits[0]?.bytes ?? 0,
  }
}

/** Everything that the first visit to a page loads, headers included, as a real browser counts it. */
export async function weighFirstVisit(
  url: string,
  path: string,
  cookie: string,
): Promise<{ bytes: number; requests: number; paintedMs: number }> {
  await using chromium = await startChromium()
  const context = await chromium.browser.newContext()
  const [name = '', value = ''] = cookie.split('=')
  await context.addCookies([{ name, value, url }])
  const page = await context.newPage()
  let bytes = 0
  let requests = 0
  const session = await context.newCDPSession(page)
  await session.send('Network.enable')
  session.on('Network.loadingFinished', ({ encodedDataLength }) => {
    bytes += encodedDataLength
    requests++
  })
  await page.goto(new URL(path, url).href, { waitUntil: 'load' })
  await page.waitForFunction(`performance.getEntriesByType('paint').length > 0`)
  const paintedMs = Number(
    await page.evaluate(
      `performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN`,
    ),
  )
  return { bytes, requests, paintedMs }
}
