/** All pages over believable content: for every eye and hand, within scopes, and with names that mean harm. */
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { findOverflow, findViolations } from '../support/accessibility.ts'
import { openBrowser, type TestBrowser } from '../support/browser.ts'
import { openSignedIn, untilLive, uploadRow } from '../support/inspector.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { SHOWCASE_PAGES, showcase } from '../support/showcase.ts'
import { makeContent, openTestUpload, sealContent, sha256 } from '../support/upload.ts'

const PAGES_TIMEOUT = 150_000
/** The browser tells of every answer that is an error; these are the ones that a visitor is to see. */
const REFUSED = /status of 40[134]/

let stack: AsyncDisposableStack
let browser: TestBrowser
let server: TestServer
const now = new Date()

beforeAll(async () => {
  stack = new AsyncDisposableStack()
  browser = stack.use(await openBrowser())
  server = stack.use(
    await startTestServer({ signed: true, clock: () => now, settings: { reverifyDays: '0' } }),
  )
  await showcase(server, now)
})
afterAll(() => stack.disposeAsync())

const headingOf = (page: Page) => page.getByRole('heading', { level: 1 }).textContent()

describe.each(['light', 'dark'] as const)('every page in %s', (colorScheme) => {
  it.each([320, 1280])(
    'breaks no rule of accessibility at %i px, and does not overflow',
    async (width) => {
      await using tab = await openSignedIn(browser, server, {
        ...{ colorScheme, permits: [REFUSED], viewport: { width, height: 800 } },
      })
      const wrong: string[] = []
      const look = async (name: string, path: string) => {
        await tab.page.goto(path)
        const faults = await findViolations(tab.page)
        const overflow = await findOverflow(tab.page)
        if (overflow > 0) faults.push(`is ${overflow} px too wide`)
        wrong.push(...faults.map((fault) => `${name}: ${fault}`))
      }
      for (const [name, path] of Object.entries(SHOWCASE_PAGES)) await look(name, path)
      await tab.context.clearCookies()
      await look('asked to sign in', '/tasks')
      await look('used link', `/sign-in/${'A'.repeat(43)}`)
      expect(wrong).toEqual([])
    },
    PAGES_TIMEOUT,
  )
})

describe('every page', () => {
  it('says what it is without JavaScript', async () => {
    await using tab = await openSignedIn(browser, server, {
      ...{ javaScriptEnabled: false, permits: [REFUSED] },
    })
    for (const path of Object.values(SHOWCASE_PAGES)) {
      await tab.page.goto(path)
      expect(await headingOf(tab.page)).toMatch(/\S/)
    }
    await tab.page.goto(SHOWCASE_PAGES.artifact)
    const command = 'artifact get --verify nightly-backup/36/files.tar.zst'
    expect(await tab.page.getByText(command).first().isVisible()).toBe(true)
    const notice = tab.page.locator('noscript')
    expect(await notice.isVisible()).toBe(true)
    expect(await notice.textContent()).toContain('cannot check what it downloads')
    expect(await tab.page.getByRole('button', { name: /download/i }).count()).toBe(0)
  })

  it('stands still for those who asked for less motion', async () => {
    await using tab = await openSignedIn(browser, server, { reducedMotion: 'reduce' })
    await tab.page.goto('/')
    await untilLive(tab.page)
    const moving = await tab.page.evaluate(
      `document.getAnimations().filter(({ effect }) => effect.getComputedTiming().duration > 1).length`,
    )
    expect(moving).toBe(0)
  })

  it('keeps its marks where colours are forced', async () => {
    await using tab = await openSignedIn(browser, server, { forcedColors: 'active' })
    await tab.page.goto('/')
    const row = uploadRow(tab.page, 'video-masters/13/scene-04.mov')
    expect(await row.locator('.icon').isVisible()).toBe(true)
    expect(await row.getByText('Failed').isVisible()).toBe(true)
  })
})

describe('the way to an artifact', () => {
  it('can be gone with the keyboard alone', async () => {
    await using tab = await openSignedIn(browser, server)
    const { page } = tab
    await page.goto('/')
    for (const [link, path] of [
      ['Tasks', '/tasks'],
      ['nightly-backup', '/tasks/nightly-backup'],
      ['36', '/tasks/nightly-backup/36'],
      ['files.tar.zst', '/artifacts/nightly-backup/36/files.tar.zst'],
    ] as const) {
      await tabTo(page, link)
      const outline = await page.evaluate('getComputedStyle(document.activeElement).outlineStyle')
      expect(outline).not.toBe('none')
      await Promise.all([page.waitForURL(`**${path}`), page.keyboard.press('Enter')])
    }
    expect(await headingOf(page)).toBe('files.tar.zst')
  })

  it('begins with a digest in any spelling', async () => {
    await using tab = await openSignedIn(browser, server)
    const { page } = tab
    const digest = sha256('nightly-backup/36/files.tar.zst')
    for (const spelling of [
      digest,
      digest.toUpperCase(),
      `sha256:${digest}`,
      ` ${digest.slice(0, 8)} `,
    ]) {
      await page.goto('/tasks')
      await page.getByRole('searchbox').fill(spelling)
      await page.keyboard.press('Enter')
      await page.waitForURL('**/artifacts/nightly-backup/36/files.tar.zst')
    }
  })

  it('begins with a part of a reference', async () => {
    await using tab = await openSignedIn(browser, server)
    const { page } = tab
    const find = async (text: string) => {
      await page.goto('/log')
      await page.getByRole('searchbox').fill(text)
      await Promise.all([
        page.waitForURL(({ pathname }) => pathname !== '/log'),
        page.getByRole('button', { name: 'Find' }).click(),
      ])
      return new URL(page.url()).pathname
    }
    expect(await find('photo')).toBe('/tasks/photo-archive')
    expect(await find('firmware/4')).toBe('/tasks/firmware/4')
    expect(await find('firmware/latest/sbom.spdx.json')).toBe(
      '/artifacts/firmware/4/sbom.spdx.json',
    )
    expect(await find('firmw')).toBe('/search')
    expect(await page.getByRole('main').getByRole('link').allTextContents()).toEqual(
      expect.arrayContaining(['firmware', 'firmware-nightly']),
    )
    expect(await find('0123456789abcdef')).toBe('/search')
    await page.getByText(/nothing that your token may list vouches for it/).waitFor()
  })

  it('shows a backup that has halved, in words', async () => {
    await using tab = await openSignedIn(browser, server)
    await tab.page.goto(SHOWCASE_PAGES.task)
    expect(await tab.page.getByText(/^Run 36 is 5\d % less than usual$/).isVisible()).toBe(true)
  })

  it('shows what is altered, revoked and removed', async () => {
    await using tab = await openSignedIn(browser, server)
    const { page } = tab
    await page.goto(SHOWCASE_PAGES['artifact-altered'])
    await page.getByRole('heading', { name: 'What is stored is not what was sealed' }).waitFor()
    expect(await page.getByText(sha256('altered').slice(0, 8)).count()).toBeGreaterThan(0)
    await page.goto(SHOWCASE_PAGES['artifact-revoked'])
    await page.getByText('boots with the debug key').waitFor()
    expect(await page.getByRole('button', { name: /download/i }).count()).toBe(0)
    await page.goto(SHOWCASE_PAGES['artifact-removed'])
    await page.getByText('asked for by the customer').waitFor()
    expect(await page.getByRole('button', { name: /download/i }).count()).toBe(0)
  })

  it('copies the command', async () => {
    await using tab = await openSignedIn(browser, server)
    const { page, context } = tab
    await context.grantPermissions(['clipboard-read', 'clipboard-write'])
    await page.goto(SHOWCASE_PAGES.artifact)
    const region = page.getByRole('region', { name: 'Get it' })
    await region.getByRole('button', { name: 'Copy' }).first().click()
    await expect
      .poll(() => page.evaluate('navigator.clipboard.readText()'))
      .toBe('artifact get --verify nightly-backup/36/files.tar.zst')
  })

  it('tells times where one is, and in UTC on hover', async () => {
    await using tab = await openSignedIn(browser, server)
    await tab.page.goto(SHOWCASE_PAGES.artifact)
    const time = tab.page.getByRole('main').locator('time[datetime]').first()
    const instant = (await time.getAttribute('datetime')) ?? ''
    const hour = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', timeZone: 'Europe/Berlin' })
    expect(await time.textContent()).toContain(`${hour.format(new Date(instant))}:`)
    expect(await time.getAttribute('title')).toBe(`${instant.slice(0, 19).replace('T', ' ')} UTC`)
  })
})

describe('a token', () => {
  it('sees of other tasks nothing at all', async () => {
    const token = await server.createToken(['list:firmware/**', 'get:firmware/**'])
    await using tab = await openSignedIn(browser, server, { token, permits: [REFUSED] })
    const { page } = tab
    for (const path of ['/', '/tasks', '/log', '/search?q=nightly', '/search?q=photo-archive']) {
      await page.goto(path)
      const text = await page.getByRole('main').textContent()
      // Its own search is repeated to it.
      expect(text?.replaceAll(/“[^”]*”/g, '')).not.toMatch(
        /nightly-backup|photo-archive|mail-store|IMG_/,
      )
    }
    await page.goto('/tasks')
    expect(await page.getByRole('main').getByRole('row').count()).toBe(2)
    await page.goto(`/search?q=${sha256('nightly-backup/36/db.dump')}`)
    await page.getByText(/Nothing that you may list/).waitFor()
  })

  it('gets the same answer for what it may not see and for what is not there', async () => {
    const token = await server.createToken(['list:firmware/**'])
    await using tab = await openSignedIn(browser, server, { token, permits: [REFUSED] })
    const { page } = tab
    const answers = []
    for (const path of [
      ...['/tasks/nightly-backup', '/tasks/no-such-task', '/tasks/nightly-backup/36'],
      ...['/artifacts/nightly-backup/36/db.dump', '/artifacts/firmware/4/no-such-name'],
    ]) {
      const reply = await page.goto(path)
      const text = (await page.getByRole('main').textContent()) ?? ''
      answers.push(`${reply?.status()} ${text.replace(/Request \S+/, '')}`)
    }
    expect(new Set(answers).size).toBe(1)
    expect(answers[0]).toMatch(/^404 /)
  })

  it('sees of a run what it may list, and gets only what it may get', async () => {
    const token = await server.createToken(['list:nightly-backup/db.dump'])
    await using tab = await openSignedIn(browser, server, { token })
    const { page } = tab
    for (const path of ['/tasks/nightly-backup', '/tasks/nightly-backup/36']) {
      await page.goto(path)
      const text = await page.getByRole('main').textContent()
      expect(text).toContain('db.dump')
      expect(text).not.toMatch(/files\.tar|manifest/)
    }
    await page.goto('/artifacts/nightly-backup/36/db.dump')
    await page.getByText('may not get it').waitFor()
    expect(await page.getByRole('button', { name: /download/i }).count()).toBe(0)
  })
})

describe('a hostile name', () => {
  const names = {
    markup: '<script>document.title = "owned"</script>',
    attribute: `"><img src=x onerror="document.title='owned'">'`,
    address: 'javascript:alert(1)/..%2f?a#b',
    turned: 'invoice\u202Efdp.exe',
    long: `${'x'.repeat(500)}.tar`,
    template: '{{7*7}} <%= 7*7 %> &lt;b&gt; &#x3c;b&#x3e;',
  }

  it.each(Object.entries(names))('is shown as it is: %s', async (kind, name) => {
    const task = `hostile-${kind}`
    await sealContent(server, { task, run: 0, name }, makeContent(100, kind), {
      labels: { note: name.slice(0, 200) },
    })
    await openTestUpload(server, { task, run: 1, name })
    await using tab = await openSignedIn(browser, server, { viewport: { width: 320, height: 700 } })
    const { page } = tab
    const shown = name.replaceAll('\u202E', '\\u{202e}')
    await page.goto('/')
    await untilLive(page)
    await uploadRow(page, `${task}/1/${shown}`).waitFor()
    for (const path of [
      `/tasks/${task}`,
      `/tasks/${task}/0`,
      `/search?q=${sha256(makeContent(100, kind).bytes)}`,
    ]) {
      await page.goto(path)
      expect(await page.getByRole('main').textContent()).toContain(shown)
      expect(await findOverflow(page)).toBe(0)
      expect(await page.title()).not.toBe('owned')
    }
    expect(await headingOf(page)).toBe(shown)
    await page.goto(`/search?q=${encodeURIComponent(name)}`)
    expect(await page.getByRole('searchbox').inputValue()).toBe(name.trim())
  })
})

/** Presses Tab until a link with this text has the focus. */
async function tabTo(page: Page, text: string): Promise<void> {
  for (let presses = 0; presses < 150; presses++) {
    await page.keyboard.press('Tab')
    if ((await page.evaluate('document.activeElement.textContent.trim()')) === text) return
  }
  throw new Error(`No link ${text} can be reached`)
}
