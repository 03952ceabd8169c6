/**
 * Pages in a real browser that tolerate nothing: a console error or warning, an exception, a breach
 * of the Content-Security-Policy, and a request to another origin each fail the test that opened
 * the page, when the page is closed.
 *
 *     await using browser = await openBrowser()
 *     await using tab = await browser.open({ url: server.url })
 *     await tab.page.goto('/')
 */
import type { BrowserContext, BrowserContextOptions, ConsoleMessage, Page } from 'playwright-core'
import { startChromium } from './chromium.ts'

export interface TabOptions
  extends Pick<
    BrowserContextOptions,
    | 'colorScheme'
    | 'forcedColors'
    | 'javaScriptEnabled'
    | 'reducedMotion'
    | 'timezoneId'
    | 'viewport'
  > {
  /** The origin that is tested; the page may ask no other. */
  url: string
  /** Further origins that it may ask. */
  origins?: readonly string[]
  /** Faults that the test itself brings about, such as a server that is gone. */
  permits?: readonly RegExp[]
}

export interface Tab extends AsyncDisposable {
  readonly page: Page
  readonly context: BrowserContext
  /** What the page did wrong so far. */
  readonly faults: readonly string[]
  /** From now on this is no fault; for what the test is about to break. */
  permit(fault: RegExp): void
}

export interface TestBrowser extends AsyncDisposable {
  /** A page with its own cookies and storage. */
  open(options: TabOptions): Promise<Tab>
}

/** Starts a browser; one is enough for a file. */
export async function openBrowser(): Promise<TestBrowser> {
  await using stack = new AsyncDisposableStack()
  const { browser } = stack.use(await startChromium())
  const held = stack.move()
  return {
    async open({ url, origins = [], permits = [], ...options }) {
      const context = await browser.newContext({
        baseURL: url,
        locale: 'en-GB',
        timezoneId: 'Europe/Berlin',
        ...options,
      })
      context.setDefaultTimeout(15_000)
      const permitted = [...permits]
      const faults = collectFaults(context, new Set([url, ...origins].map(originOf)))
      if (options.javaScriptEnabled !== false)
        await context.addInitScript({ content: REPORT_BREACHES })
      const page = await context.newPage()
      const unpermitted = () => faults.filter((fault) => !permitted.some((one) => one.test(fault)))
      return {
        page,
        context,
        permit: (fault) => permitted.push(fault),
        get faults() {
          return unpermitted()
        },
        async [Symbol.asyncDispose]() {
          await context.close()
          const found = unpermitted()
          if (found.length > 0) throw new Error(`The page is at fault:\n${found.join('\n')}`)
        },
      }
    },
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  }
}

/** Faults of all pages of a context, as they come. */
function collectFaults(context: BrowserContext, origins: ReadonlySet<string>): string[] {
  const faults: string[] = []
  context.on('console', (message: ConsoleMessage) => {
    if (message.type() === 'error' || message.type() === 'warning')
      faults.push(`console: ${message.text()} (${message.location().url})`)
  })
  context.on('weberror', (error) => faults.push(`exception: ${error.error().message}`))
  context.on('request', (request) => {
    if (!origins.has(originOf(request.url()))) faults.push(`foreign request: ${request.url()}`)
  })
  return faults
}

/** Runs in the page before its own: a breach of the policy is told with its details. */
const REPORT_BREACHES = `document.addEventListener('securitypolicyviolation', (event) => {
  console.error('policy: ' + event.violatedDirective + ' forbids ' + event.blockedURI)
})`

/** A blob belongs to the page that made it; `data:` has no origin, and so is foreign. */
function originOf(url: string): string {
  return new URL(url).origin
}
