/**
 * The inspector over very many records, on the embedded default of this machine:
 *
 *     npm run bench:inspector -- [--rows 1000000] [--folder DIR] [--uploads 500] [--seconds 10]
 *         [--only pages,events,browser] [--picture FILE]
 *
 * 1. every page: time to the first byte, median of 20, and bytes on the wire;
 * 2. events per second that 1, 10 and 100 watchers get while the uploads move, and the CPU that it takes;
 * 3. the first page with all of them moving, as the browser counts it.
 *
 * With `--folder` the records stay there and are used again. Server, Postgres, watchers and browser
 * share the cores; nothing is asserted.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { request } from 'undici'
import { z } from 'zod'
import { openDatabase } from '../../server/records/database.ts'
import { openSite } from '../support/serve-process.ts'
import { watchPage } from './busy-page.ts'
import { carry, closeUploads, moveUploads, openUploads } from './event-load.ts'
import { fillFolder } from './filled-folder.ts'
import { listPages, timePage, weighFirstVisit } from './page-times.ts'
import { readTreeCpuSeconds } from './process-tree.ts'

const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: '1000000' },
    folder: { type: 'string' },
    uploads: { type: 'string', default: '500' },
    seconds: { type: 'string', default: '10' },
    only: { type: 'string' },
    picture: { type: 'string' },
  },
})
const rows = Number(values.rows)
const uploads = Number(values.uploads)
const seconds = Number(values.seconds)
const isAsked = (part: string) => values.only === undefined || values.only.split(',').includes(part)
const say = (line: string) => process.stdout.write(`${line}\n`)

await using stack = new AsyncDisposableStack()
const folder = values.folder ?? (await mkdtemp(join(tmpdir(), 'artifact-bench-')))
if (values.folder === undefined)
  stack.defer(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }))
await fillFolder(folder, rows, say)

const settings = { 'data-dir': folder, 'log-level': 'warn', 'reverify-days': '0' }
const site = stack.use(await openSite({ settings }))
const server = stack.use(await site.serve())
const { url, token } = site
const { sql } = stack.use(await openDatabase({ url: await readAdminUrl() }))
const cookie = await signIn(token)

if (isAsked('pages')) await measurePages()
if (isAsked('events')) await measureEvents()
if (isAsked('browser')) await measureBrowser()

async function measurePages(): Promise<void> {
  const narrow = await signIn(await makeToken('list:turtle-db/**', 'get:turtle-db/**'))
  say(`\npage${' '.repeat(26)}status  first byte   slowest     bytes`)
  for (const page of listPages(rows)) await sayPage(page, cookie)
  for (const page of listPages(rows).filter(({ path }) => /^\/(tasks|search|)(\?.*)?$/.test(path)))
    await sayPage({ ...page, name: `${page.name} (one task)` }, narrow)
  const visit = await weighFirstVisit(url, '/', cookie)
  say(
    `first visit to /: ${visit.bytes} bytes in ${visit.requests} requests, painted after ${visit.paintedMs.toFixed(0)} ms`,
  )
}

async function sayPage(page: { name: string; path: string }, as: string): Promise<void> {
  const { name, status, firstByteMs, slowestMs, bytes } = await timePage(url, page, as)
  const ms = (value: number) => `${value.toFixed(1)} ms`.padStart(10)
  say(
    `${name.padEnd(30)}${String(status).padStart(6)} ${ms(firstByteMs)} ${ms(slowestMs)} ${String(bytes).padStart(9)}`,
  )
}

async function measureEvents(): Promise<void> {
  const ids = await openUploads(sql, uploads)
  say(
    `\nwatchers  asked/s  appended/s  slowest gets/s  together/s  dropped  delay p50/p99  server CPU`,
  )
  for (const [watchers, perSecond] of [1, 10, 100].flatMap((count) =>
    [uploads, uploads * 4].map((rate) => [count, rate] as const),
  )) {
    const before = readTreeCpuSeconds(server.child.pid ?? 0)
    const carried = await carry({ url, token, sql, ids }, watchers, perSecond, seconds)
    const cpu = (readTreeCpuSeconds(server.child.pid ?? 0) - before) / seconds
    const cells = [
      String(watchers).padStart(8),
      String(perSecond).padStart(8),
      carried.appended.toFixed(0).padStart(11),
      carried.slowest.toFixed(0).padStart(15),
      carried.together.toFixed(0).padStart(11),
      String(carried.dropped).padStart(8),
      `${carried.delayMs.median} / ${carried.delayMs.most} ms`.padStart(14),
      `${(cpu * 100).toFixed(0)} %`.padStart(11),
    ]
    say(cells.join(' '))
  }
  await closeUploads(sql, ids)
}

async function measureBrowser(): Promise<void> {
  const ids = await openUploads(sql, uploads)
  const moving = moveUploads(sql, ids, uploads)
  const busy = await watchPage(url, cookie, seconds, values.picture)
  const events = await moving.stop()
  await closeUploads(sql, ids)
  say(`\nthe first page with ${busy.rows} bars, ${events} events in all`)
  for (const [key, value] of Object.entries(busy)) say(`  ${key.padEnd(16)} ${value.toFixed(1)}`)
}

/** The superuser of the embedded Postgres, as its folder says it. */
async function readAdminUrl(): Promise<string> {
  const below = join(folder, 'postgres')
  const password = (await readFile(join(below, 'admin-password'), 'utf8')).trim()
  const pid = await readFile(join(below, 'data', 'postmaster.pid'), 'utf8')
  const admin = new URL('postgres://postgres@127.0.0.1/artifact')
  admin.password = password
  admin.port = pid.split('\n')[3] ?? ''
  return admin.href
}

async function makeToken(...scopes: string[]): Promise<string> {
  const reply = await request(new URL('/v1/tokens', url), {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ name: 'bench', scopes, ttlSeconds: 3600 }),
  })
  return z.object({ secret: z.string() }).parse(await reply.body.json()).secret
}

async function signIn(secret: string): Promise<string> {
  const reply = await request(new URL('/sign-in', url), {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams({ token: secret }).toString(),
  })
  await reply.body.dump()
  const [cookie = ''] = String(reply.headers['set-cookie']).split(';')
  return cookie
}
