/** Who may look: signing in and out, links that work once, and what ends a session. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { systemClock } from '../../server/clock.ts'
import { openBrowser, type TestBrowser } from '../support/browser.ts'
import { openSignedIn } from '../support/inspector.ts'
import { startTestServer, type TestServer } from '../support/server.ts'

const HOUR_MS = 3_600_000
/** The browser tells of every answer that is an error; these are the ones that a visitor is to see. */
const REFUSED = /status of 40[134]/

let stack: AsyncDisposableStack
let browser: TestBrowser
let server: TestServer
/** Time goes one way, also here: who failed a moment ago is remembered. */
let aheadMs = 0

beforeAll(async () => {
  stack = new AsyncDisposableStack()
  browser = stack.use(await openBrowser())
  server = stack.use(
    await startTestServer({ clock: () => new Date(systemClock().getTime() + aheadMs) }),
  )
})
afterAll(() => stack.disposeAsync())

describe('signing in', () => {
  it('takes a token and goes back to where one was', async () => {
    await using tab = await browser.open({ url: server.url, permits: [REFUSED] })
    const { page } = tab
    await page.goto('/tasks?prefix=night')
    expect(await page.getByRole('heading', { level: 1 }).textContent()).toBe('Sign in')
    await page.getByLabel('Token').fill(server.token)
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.waitForURL('**/tasks?prefix=night')
    expect(await page.getByText('test admin').isVisible()).toBe(true)
  })

  it('can be done with the keyboard alone', async () => {
    await using tab = await browser.open({ url: server.url })
    const { page } = tab
    await page.goto('/sign-in')
    await page.getByLabel('Token').focus()
    await page.keyboard.type(server.token)
    await page.keyboard.press('Enter')
    await page.waitForURL(`${server.url}/`)
    await page.keyboard.press('Tab')
    expect(await page.evaluate('document.activeElement.textContent')).toBe('Skip to the content')
    await page.keyboard.press('Enter')
    expect(await page.evaluate('document.activeElement.id')).toBe('main')
  })

  it('refuses a wrong token in words, and keeps it out of the address', async () => {
    await using tab = await browser.open({ url: server.url, permits: [REFUSED] })
    const { page } = tab
    await page.goto('/sign-in')
    await page.getByLabel('Token').fill('artifact_wrong')
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.getByRole('alert').getByText('no valid token').waitFor()
    expect(page.url()).toBe(`${server.url}/sign-in`)
    expect(await page.getByLabel('Token').inputValue()).toBe('')
    expect(await tab.context.cookies()).toEqual([])
  })

  it('hides its cookie from scripts and from other sites', async () => {
    await using tab = await openSignedIn(browser, server)
    await tab.page.goto('/')
    expect(await tab.page.evaluate('document.cookie')).toBe('')
    const [cookie] = await tab.context.cookies()
    expect(cookie).toMatchObject({ httpOnly: true, sameSite: 'Strict', path: '/' })
  })
})

describe('a link that signs in', () => {
  const Link = z.object({ path: z.string() })
  const makeLink = async () =>
    Link.parse((await server.request('POST', '/v1/sign-in-links')).body).path

  it('signs in once', async () => {
    const path = await makeLink()
    await using first = await browser.open({ url: server.url })
    await first.page.goto(path)
    expect(first.page.url()).toBe(`${server.url}/`)
    await first.page.getByRole('button', { name: 'Sign out' }).waitFor()
    await using second = await browser.open({ url: server.url, permits: [REFUSED] })
    await second.page.goto(path)
    await second.page.getByRole('alert').getByText('has been used').waitFor()
    expect(await second.context.cookies()).toEqual([])
  })

  it('is over after ten minutes', async () => {
    const path = await makeLink()
    aheadMs += HOUR_MS / 6 + 1000
    await using tab = await browser.open({ url: server.url, permits: [REFUSED] })
    await tab.page.goto(path)
    await tab.page.getByRole('alert').getByText('ten minutes are over').waitFor()
  })
})

describe('a session', () => {
  it('ends after eight hours, says so, and leads back', async () => {
    await using tab = await openSignedIn(browser, server, { permits: [REFUSED] })
    const { page } = tab
    await page.goto('/log')
    aheadMs += 8 * HOUR_MS + 1000
    await page.goto('/tasks')
    await page.getByRole('alert').getByText('You were signed out').waitFor()
    await page.getByLabel('Token').fill(server.token)
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.waitForURL('**/tasks')
    expect(await page.getByRole('heading', { level: 1 }).textContent()).toBe('Tasks')
  })

  it('ends with its token', async () => {
    const token = await server.createToken(['list:*/**'])
    await using tab = await openSignedIn(browser, server, { token, permits: [REFUSED] })
    await tab.page.goto('/tasks')
    await server.admin`update artifact.token set revoked_at = now() where scopes = ${['list:*/**']}`
    await tab.page.reload()
    await tab.page.getByRole('alert').getByText('You were signed out').waitFor()
  })

  it('ends by the button, for the page that is gone back to as well', async () => {
    await using tab = await openSignedIn(browser, server, { permits: [REFUSED] })
    const { page } = tab
    await page.goto('/tasks')
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.getByText('You are signed out').waitFor()
    await page.goBack()
    await page.getByRole('heading', { name: 'Sign in' }).waitFor()
  })

  it('changes nothing, whatever a page would ask for', async () => {
    await using tab = await openSignedIn(browser, server, { permits: [REFUSED] })
    await tab.page.goto('/')
    const statuses = await tab.page.evaluate(`Promise.all([
      fetch('/v1/tokens', { method: 'POST', body: '{"name":"x","scopes":["admin"]}', headers: { 'content-type': 'application/json' } }),
      fetch('/v1/sign-in-links', { method: 'POST' }),
      fetch('/v1/tokens'),
    ].map((reply) => reply.then(({ status }) => status)))`)
    expect(statuses).toEqual([401, 401, 401])
  })
})
