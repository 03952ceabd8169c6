/** The inspector as a visitor: signed in, on one page or on all of them. */
import type { Locator, Page } from 'playwright-core'
import { expect } from 'vitest'
import type { Tab, TabOptions, TestBrowser } from './browser.ts'
import type { FaultProxy } from './fault-proxy.ts'
import type { TestServer } from './server.ts'

/** Signs the browser of a tab in, as the form of the sign-in page does. */
export async function signIn(tab: Tab, token: string): Promise<void> {
  const reply = await tab.context.request.post('/sign-in', { form: { token }, maxRedirects: 0 })
  expect(reply.status()).toBe(303)
}

/** A tab that is signed in; as admin unless another token is given. */
export async function openSignedIn(
  browser: TestBrowser,
  server: Pick<TestServer, 'url' | 'token'>,
  options: Omit<TabOptions, 'url'> & { token?: string } = {},
): Promise<Tab> {
  const { token = server.token, ...rest } = options
  const tab = await browser.open({ url: server.url, ...rest })
  await signIn(tab, token)
  return tab
}

/** The row of an upload on the first page. */
export function uploadRow(page: Page, reference: string): Locator {
  const heading = page.getByRole('heading', { name: reference, exact: true })
  return page.getByRole('listitem').filter({ has: heading })
}

/** How far the bar of a row is, in per cent; `undefined` while the size is not known. */
export async function percentOf(row: Locator): Promise<number | undefined> {
  const value = await row.locator('progress.bar-sent').getAttribute('value')
  return value === null ? undefined : Number(value) / 10
}

/** Waits until the page says that it is live. */
export async function untilLive(page: Page): Promise<void> {
  await page.locator('#live').getByText('Live', { exact: true }).waitFor({ timeout: 30_000 })
}

/** Lets the parts of uploads through a proxy only as many as it is told. */
export interface Turnstile {
  pass(parts: number): void
}

export function makeTurnstile(proxy: FaultProxy): Turnstile {
  let free = 0
  const waiting: (() => void)[] = []
  proxy.fault = ({ method, path }) => {
    if (method !== 'PUT' || !path.startsWith('/v1/blobs/')) return undefined
    if (free > 0) {
      free--
      return undefined
    }
    const { promise, resolve } = Promise.withResolvers<void>()
    waiting.push(resolve)
    return { kind: 'wait', until: promise }
  }
  return {
    pass(parts) {
      const gone = waiting.splice(0, parts)
      for (const go of gone) go()
      free += parts - gone.length
    },
  }
}
