/**
 * Pictures of every page of the inspector, in both themes, narrow, ordinary and wide, over a server of its
 * own with believable content:
 *
 *     npm run screenshots -- [--folder screenshots] [--only uploads,task] [--widths 320,1280,2560] [--themes light,dark]
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { startChromium } from './support/chromium.ts'
import { createDatabase, startTestCluster } from './support/postgres-cluster.ts'
import { startTestServer } from './support/server.ts'
import { SHOWCASE_PAGES, showcase } from './support/showcase.ts'

const { values } = parseArgs({
  options: {
    folder: { type: 'string', default: 'screenshots' },
    only: { type: 'string' },
    widths: { type: 'string', default: '320,1280,2560' },
    themes: { type: 'string', default: 'light,dark' },
  },
})
const themes = z.array(z.enum(['light', 'dark'])).parse(values.themes.split(','))
const widths = z.array(z.coerce.number().int().positive()).parse(values.widths.split(','))
const only = values.only?.split(',')
const pages = Object.entries({ ...SHOWCASE_PAGES, 'sign-in': '/sign-in' }).filter(
  ([name]) => only === undefined || only.includes(name),
)

await using stack = new AsyncDisposableStack()
const cluster = stack.use(await startTestCluster())
const database = stack.use(await createDatabase(cluster.cluster))
// Time stands still, so that what moves in the pictures has moved a moment ago.
const now = new Date()
const server = stack.use(
  await startTestServer({
    ...{ database, signed: true, clock: () => now },
    settings: { reverifyDays: '0', logOrigin: 'artifacts.example.com/log' },
  }),
)
await showcase(server, now)
const { browser } = stack.use(await startChromium())
await mkdir(values.folder, { recursive: true })

for (const colorScheme of themes)
  for (const width of widths) {
    const viewport = { width, height: Math.max(720, Math.round(width * 0.5625)) }
    const context = await browser.newContext({
      viewport,
      ...{ baseURL: server.url, colorScheme, locale: 'en-GB', timezoneId: 'Europe/Berlin' },
    })
    const page = await context.newPage()
    for (const [name, path] of pages) {
      await context.clearCookies()
      if (name !== 'sign-in')
        await context.request.post('/sign-in', { form: { token: server.token } })
      await page.goto(path, { waitUntil: 'load' })
      if (path === '/') await page.locator('#live').getByText('Live', { exact: true }).waitFor()
      // What is out of sight is not drawn: the whole page is brought into sight first.
      const height = Number(await page.evaluate('document.documentElement.scrollHeight'))
      await page.setViewportSize({ width, height: Math.max(height, 720) })
      const file = join(values.folder, `${name}-${width}-${colorScheme}.png`)
      await page.screenshot({ path: file, fullPage: true })
      await page.setViewportSize(viewport)
      process.stdout.write(`${file}\n`)
    }
    await context.close()
  }
